//! Storage servers that were given several addresses of name managers, at some of which the wrong one answers.

use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::hosts::Hosts;
use pairfs_tests::until;
use serde_json::Value;

const SERVERS: [&str; 2] = ["ss1", "ss1_backup"];

fn well(status: &Value) -> bool {
    status["rebuilding"].is_null() && pair(status)["state"] == "active" && pair(status)["lag_rows"] == 0
}

fn start(hosts: &mut Hosts, addrs: &[String], nm: &str) {
    for (server, addr) in SERVERS.iter().zip(addrs) {
        hosts.serve_ss(1, server, addr, &["--nm", nm]);
    }
}

#[test]
fn r26_servers_that_meet_the_old_name_manager_find_the_rebuilt_one_at_their_next_address_and_say_so() {
    let mut hosts = Hosts::on_loopback();
    let (old, new) = (hosts.addr(0), hosts.addr(0));
    let secret = hosts.folder(0).join("nm/cluster.secret");
    hosts.serve_nm_at(&old, &[]);
    let addrs = [hosts.addr(1), hosts.addr(1)];
    start(&mut hosts, &addrs, &new);
    hosts.wait("the pair", well);
    hosts.pairfs_with(&["write", "/before", "-"], b"before").ok();
    hosts.wait("the copy", well);
    hosts.kill9("nm");

    // They find it without a restart, wherever it is.
    hosts.serve_other_nm("rebuilt", &new, &secret, &["--rebuild"]);
    hosts.wait("the rebuilt one to serve", well);
    assert_eq!(hosts.pairfs(&["read", "/before"]).ok().stdout, b"before");
    hosts.pairfs_with(&["write", "/after", "-"], b"after").ok();
    let key = hosts.folder(0).join("rebuilt.key");

    // The old one comes back at the address that they were given first, while the right one is away.
    hosts.kill9("rebuilt");
    hosts.serve_nm_at(&old, &[]);
    let told = |hosts: &Hosts, server: &str| {
        hosts.said(server).lines().any(|line| {
            line.contains(&format!("addr=\"{old}\""))
                && line.contains("is an old one")
                && line.contains("trying the next address")
        })
    };
    until(LATER, "both to say that they met an old one", || {
        SERVERS.iter().all(|server| told(&hosts, server))
    });
    hosts.serve_other_nm("rebuilt", &new, &secret, &[]);
    hosts.wait("them to follow the right one again", well);
    assert_eq!(hosts.pairfs(&["read", "/after"]).ok().stdout, b"after");

    // And when they are started while both answer.
    for server in SERVERS {
        hosts.kill9(server);
    }
    hosts.look_at(&old, &key);
    start(&mut hosts, &addrs, &new);
    hosts.look_at(&new, &key);
    hosts.wait("them to serve after a restart", well);
    assert_eq!(hosts.pairfs(&["read", "/after"]).ok().stdout, b"after");
    assert!(SERVERS.iter().all(|server| told(&hosts, server)));
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn a_server_waits_for_its_name_manager_though_at_another_address_that_of_another_cluster_answers() {
    let mut hosts = Hosts::on_loopback();
    let (own, strange) = (hosts.addr(0), hosts.addr(0));
    hosts.serve_nm_at(&own, &[]);
    let secret = hosts.folder(0).join("nm/cluster.secret");
    let own_key = hosts.folder(0).join("nm/admin.key");
    let addrs = [hosts.addr(1), hosts.addr(1)];
    start(&mut hosts, &addrs, &strange);
    hosts.wait("the pair", well);
    hosts.pairfs_with(&["write", "/file", "-"], b"content").ok();
    hosts.wait("the copy", well);

    hosts.kill9("nm");
    hosts.serve_other_nm("stranger", &strange, &secret, &[]);
    let told = |hosts: &Hosts, server: &str| {
        let line =
            |line: &str| line.contains(&format!("addr=\"{strange}\"")) && line.contains("WRONG_CLUSTER");
        hosts.said(server).lines().any(line)
    };
    until(LATER, "both to say whom they met", || SERVERS.iter().all(|server| told(&hosts, server)));
    hosts.serve_nm_at(&own, &[]);
    hosts.look_at(&own, &own_key);
    hosts.wait("them to be back at their own", well);
    assert_eq!(hosts.pairfs(&["read", "/file"]).ok().stdout, b"content");
    hosts.pairfs(&["fsck"]).ok();
}
