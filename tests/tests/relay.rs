//! Partners that cannot reach each other come together all the same, through the name manager.

use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::hosts::{Hosts, Way};
use pairfs_tests::until;
use pairfs_tests::workload::filled;
use serde_json::Value;

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

/// ss1 on host 1, its backup on host 2.
fn start(hosts: &mut Hosts) {
    let addrs = [1, 2].map(|host| hosts.addr(host));
    hosts.serve_ss(1, "ss1", &addrs[0], &[]);
    hosts.serve_ss(2, "ss1_backup", &addrs[1], &[]);
}

#[test]
fn partners_without_a_way_to_each_other_converge_through_the_name_manager() {
    let mut hosts = Hosts::new(3);
    if hosts.way() == Way::Loopback {
        return eprintln!("not tested: a way can only be taken from hosts with routes of their own");
    }
    hosts.lose_way(1, 2);
    hosts.lose_way(2, 1);
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
