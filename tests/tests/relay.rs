//! Partners that cannot reach each other come together all the same, through the name manager.

use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::hosts::Hosts;
use pairfs_tests::until;
use pairfs_tests::workload::filled;
use pairfs_tests::{command, damage};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

fn has_converged(status: &Value) -> bool {
    pair(status)["state"] == "active" && pair(status)["lag_rows"] == 0 && pair(status)["at_risk_files"] == 0
}

fn write(hosts: &Hosts, path: &str, content: &[u8]) {
    hosts.pairfs_with(&["write", "-p", path, "-"], content).ok();
}

fn relayed(hosts: &Hosts) -> u64 {
    let status = hosts.pairfs(&["--json", "status"]).ok().json();
    pair(&status)["relayed_bytes"].as_u64().unwrap()
}

/// Writes for both members; what the receipt says of that.
fn synced(hosts: &Hosts, path: &str, content: &[u8]) -> String {
    let words = ["--json", "--timeout", "30s", "write", "-p", path, "-", "--durability", "sync"];
    let receipt = hosts.pairfs_with(&words, content).ok().json();
    receipt["durable"].as_str().unwrap().to_owned()
}

/// The store of a member.
fn store(hosts: &Hosts, host: usize, server: &str, folder: &str) -> PathBuf {
    hosts.folder(host).join(server).join("store").join(folder)
}

/// ss1 on host 1, its backup on host 2.
fn start(hosts: &mut Hosts) {
    let addrs = [1, 2].map(|host| hosts.addr(host));
    hosts.serve_ss(1, "ss1", &addrs[0], &[]);
    hosts.serve_ss(2, "ss1_backup", &addrs[1], &[]);
}

/// Three hosts, of which 1 and 2 cannot reach each other.
fn partners_apart() -> Hosts {
    let hosts = Hosts::new(3);
    hosts.lose_way(1, 2);
    hosts.lose_way(2, 1);
    hosts
}

#[test]
fn partners_without_a_way_to_each_other_converge_through_the_name_manager() {
    let mut hosts = partners_apart();
    // First it may not help: rows stay behind.
    hosts.serve_nm(&["--relay", "never"]);
    start(&mut hosts);
    hosts.wait("ss1 to serve", |status| pair(status)["acting"] == "ss1");
    let large = filled(1, 6 << 20);
    write(&hosts, "/a/large", &large);
    write(&hosts, "/a/small", b"small");
    let mut looks = 0;
    until(LATER, "many looks", || {
        let status = hosts.pairfs(&["--json", "status"]).ok().json();
        assert!(!has_converged(&status), "it converged without a way: {status}");
        looks += 1;
        looks == 40
    });
    assert_eq!(relayed(&hosts), 0);
    assert!(hosts.events("relay-began").is_empty());

    // Then it helps by itself.
    hosts.kill9("nm");
    hosts.serve_nm(&[]);
    hosts.wait("the members to come together", has_converged);
    assert!(relayed(&hosts) >= large.len() as u64);
    let began = hosts.events("relay-began");
    assert_eq!(began.last().unwrap()["server"], "ss1_backup");
    write(&hosts, "/a/second", &filled(2, 3 << 20));
    hosts.wait("the second file to be on both", has_converged);
    hosts.pairfs(&["fsck"]).ok();

    // Writes for both are not refused, though nobody passes the bytes from one to the other (R19).
    let both = filled(4, 6 << 20);
    assert_eq!(synced(&hosts, "/a/both-large", &both), "both");
    assert_eq!(synced(&hosts, "/a/both-small", b"for both"), "both");
    hosts.wait("them to be on both", has_converged);

    // The way is found again: nothing more goes through the name manager.
    hosts.find_way(1, 2);
    hosts.find_way(2, 1);
    until(LATER, "the end of relaying", || !hosts.events("relay-ended").is_empty());
    let before = relayed(&hosts);
    write(&hosts, "/a/third", &filled(3, 3 << 20));
    hosts.wait("the third file to be on both", has_converged);
    assert_eq!(relayed(&hosts), before);
    hosts.pairfs(&["fsck"]).ok();
    hosts.kill9("ss1");
    assert!(hosts.pairfs(&["read", "/a/large"]).ok().stdout == large, "the backup has what was relayed");
    assert!(hosts.pairfs(&["read", "/a/both-large"]).ok().stdout == both);
    assert_eq!(hosts.pairfs(&["read", "/a/both-small"]).ok().stdout, b"for both");
}

#[test]
fn members_that_shall_not_talk_to_each_other_do_not() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&["--relay", "always"]);
    start(&mut hosts);
    hosts.wait("the pair to be active", has_converged);
    let large = filled(1, 6 << 20);
    write(&hosts, "/large", &large);
    hosts.wait("the copy to be there", has_converged);
    assert!(relayed(&hosts) >= large.len() as u64);
    // What a member missed comes that way, too.
    hosts.kill9("ss1_backup");
    let (addr, content) = (hosts.addr(2), filled(2, 1 << 20));
    write(&hosts, "/alone", &content);
    hosts.serve_ss(2, "ss1_backup", &addr, &[]);
    hosts.wait("the copy of what it missed", has_converged);
    hosts.pairfs(&["fsck"]).ok();
    hosts.kill9("ss1");
    assert!(hosts.pairfs(&["read", "/alone"]).ok().stdout == content);
}

#[test]
fn r19_a_write_for_both_is_made_durable_on_the_partner_through_the_name_manager() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&["--relay", "always"]);
    start(&mut hosts);
    hosts.wait("the pair to be active", has_converged);
    // In one request, and in pieces.
    let contents = [filled(1, 10), filled(2, 70_000), filled(3, (9 << 20) + 77)];
    for (number, content) in contents.iter().enumerate() {
        assert_eq!(synced(&hosts, &format!("/{number}"), content), "both");
    }
    // No row has brought it there: it was prepared.
    hosts.kill9("ss1");
    for (number, content) in contents.iter().enumerate() {
        assert!(hosts.pairfs(&["read", &format!("/{number}")]).ok().stdout == *content, "{number}");
    }
    let alone = hosts.pairfs_with(&["--timeout", "3s", "write", "/alone", "-", "--durability", "sync"], b"x");
    alone.exits(6);
    let addr = hosts.addr(1);
    hosts.serve_ss(1, "ss1", &addr, &[]);
    hosts.wait("both to be well", has_converged);
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn r19_without_a_way_and_without_relaying_a_write_for_both_is_refused() {
    let mut hosts = partners_apart();
    hosts.serve_nm(&["--relay", "never"]);
    start(&mut hosts);
    hosts.wait("ss1 to serve", |status| pair(status)["acting"] == "ss1");
    let words = ["--timeout", "3s", "write", "/both", "-", "--durability", "sync"];
    hosts.pairfs_with(&words, b"for both").exits(6);
}

#[test]
fn r28_an_upload_goes_on_at_the_partner_though_its_pieces_came_there_through_the_name_manager() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: u64 = 64;
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&["--relay", "always"]);
    start(&mut hosts);
    hosts.wait("the pair to be active", has_converged);
    let (nm, key) = (hosts.nm_addr(), hosts.folder(0).join("nm/admin.key"));
    let words = ["--nm", &nm, "--key-file", key.to_str().unwrap(), "--json", "write", "/big"];
    let mut upload = command::start(hosts.command(0, &words));
    let mut pipe = upload.input();
    // A pipe cannot be read twice: what the client has sent and forgotten must be on the partner.
    for block in 0..BLOCKS {
        if block == BLOCKS * 2 / 3 {
            hosts.kill9("ss1");
        }
        pipe.write_all(&filled(block, BLOCK)).unwrap();
    }
    drop(pipe);
    assert_eq!(upload.end().ok().json()["size"], BLOCKS * BLOCK as u64);
    let whole: Vec<u8> = (0..BLOCKS).flat_map(|block| filled(block, BLOCK)).collect();
    assert!(hosts.pairfs(&["read", "/big"]).ok().stdout == whole);
    let addr = hosts.addr(1);
    hosts.serve_ss(1, "ss1", &addr, &[]);
    hosts.wait("both to be well", has_converged);
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn i6_scrub_and_reads_repair_bad_bytes_through_the_name_manager() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&["--relay", "always"]);
    start(&mut hosts);
    hosts.wait("the pair to be active", has_converged);
    let (large, medium, read) = (filled(1, 6 << 20), filled(2, 100_000), filled(3, 200_000));
    write(&hosts, "/large", &large);
    write(&hosts, "/medium", &medium);
    write(&hosts, "/read", &read);
    hosts.wait("the copies", has_converged);
    damage::flip(&store(&hosts, 1, "ss1", "extents"), &large, 5 << 20);
    damage::flip(&store(&hosts, 2, "ss1_backup", "extents"), &large, 100);
    damage::flip(&store(&hosts, 2, "ss1_backup", "extents"), &medium, 77_000);
    let before = relayed(&hosts);
    let report = hosts.pairfs(&["--json", "scrub"]).ok().json();
    assert_eq!((&report["well"], &report["repaired"]), (&Value::Bool(true), &Value::from(3)), "{report}");
    assert!(relayed(&hosts) > before);
    // A read that meets it (a start has nothing in memory).
    hosts.kill9("ss1_backup");
    hosts.kill9("ss1");
    damage::flip(&store(&hosts, 1, "ss1", "extents"), &read, 150_000);
    start(&mut hosts);
    hosts.wait("both to be well", has_converged);
    assert!(hosts.pairfs(&["read", "/read"]).ok().stdout == read);
    let again = hosts.pairfs(&["--json", "scrub"]).ok().json();
    assert_eq!((&again["well"], &again["repaired"]), (&Value::Bool(true), &Value::from(0)), "{again}");
    hosts.pairfs(&["fsck"]).ok();
}
