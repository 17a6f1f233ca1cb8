//! A cluster on three hosts: a process dies, a cable is pulled, and files go on. As root the hosts are network
//! namespaces; else there is a proxy before each server, and the test says so.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{pair, server};
use pairfs_tests::command::{command, run};
use pairfs_tests::hosts::{Hosts, Way};
use pairfs_tests::workload::filled;
use serde_json::Value;
use std::time::Instant;

/// nm on host 0, ss1 on 1, ss1_backup on 2; the addresses of the two.
fn three(hosts: &mut Hosts) -> [String; 2] {
    hosts.serve_nm(&[]);
    let addrs = [1, 2].map(|host| hosts.addr(host));
    serve(hosts, 1, "ss1", &addrs[0]);
    serve(hosts, 2, "ss1_backup", &addrs[1]);
    hosts.wait("the pair to be active", is_active);
    addrs
}

/// A server that listens at every address and says at which one it is.
fn serve(hosts: &mut Hosts, host: usize, name: &str, addr: &str) {
    let listen = hosts.listen(addr);
    let (ip, port) = listen.rsplit_once(':').expect("a port");
    let any = if ip.starts_with('[') { "[::]" } else { "0.0.0.0" };
    hosts.serve_ss(host, name, &format!("{any}:{port}"), &["--advertise", addr]);
}

fn is_active(status: &Value) -> bool {
    let pair = pair(status);
    pair["state"] == "active" && pair["acting"] == "ss1" && pair["lag_rows"] == 0
}

fn is_failed_over(status: &Value) -> bool {
    pair(status)["acting"] == "ss1_backup"
}

fn write(hosts: &Hosts, path: &str, content: &[u8]) {
    hosts.pairfs_with(&["write", "-p", path, "-"], content).ok();
}

fn read(hosts: &Hosts, path: &str) -> Vec<u8> {
    hosts.pairfs(&["read", path]).ok().stdout
}

fn last_failure(hosts: &Hosts) -> Value {
    hosts.events("failed").pop().expect("a failure was told")
}

#[test]
fn files_on_three_hosts_survive_a_dead_process_and_a_pulled_cable() {
    let mut hosts = Hosts::new(3);
    let addrs = three(&mut hosts);
    let status = hosts.pairfs(&["--json", "status"]).ok().json();
    assert_eq!(server(&status, "ss1")["addr"], *addrs[0]);
    let large = filled(1, 5 << 20);
    write(&hosts, "/a/large", &large);
    assert!(read(&hosts, "/a/large") == large);
    hosts.wait("the copy to be there", is_active);

    // The process of ss1 ends: its host says so, and its partner confirms it (R5).
    let killed = Instant::now();
    hosts.kill9("ss1");
    write(&hosts, "/a/second", b"written to the backup");
    assert!(read(&hosts, "/a/large") == large);
    eprintln!("a write after the end of the process took {:?}", killed.elapsed());
    // A proxy takes connections for it though nobody listens behind it.
    if hosts.way() == Way::Namespaces {
        assert_eq!(last_failure(&hosts)["reason"], "its process ended");
    }
    assert!(is_failed_over(&hosts.pairfs(&["--json", "status"]).ok().json()));
    serve(&mut hosts, 1, "ss1", &addrs[0]);
    hosts.wait("ss1 to be back", is_active);

    // The cable of ss1's host is pulled: nobody refuses anything, it is just silent.
    hosts.cut(1);
    write(&hosts, "/a/third", b"written while cut off");
    assert!(read(&hosts, "/a/large") == large);
    assert_eq!(read(&hosts, "/a/second"), b"written to the backup");
    hosts.wait("the backup to act", is_failed_over);
    let failure = last_failure(&hosts);
    assert_ne!(failure["reason"], "its process ended", "{failure}");
    hosts.mend(1);
    hosts.wait("ss1 to be back after the cut", is_active);
    assert_eq!(read(&hosts, "/a/third"), b"written while cut off");
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn host_names_and_both_families_lead_to_every_server() {
    let mut hosts = Hosts::on_loopback();
    hosts.serve_nm(&[]);
    let named = |addr: String| format!("localhost:{}", addr.rsplit_once(':').expect("a port").1);
    let (primary, backup) = (named(hosts.addr(0)), hosts.addr(2));
    assert!(backup.starts_with("[::1]:"), "{backup}");
    hosts.serve_ss(0, "ss1", &primary, &["--advertise", &primary]);
    hosts.serve_ss(2, "ss1_backup", &backup, &[]);
    hosts.wait("the pair to be active", is_active);
    let status = hosts.pairfs(&["--json", "status"]).ok().json();
    assert_eq!(server(&status, "ss1")["addr"], *primary);
    assert_eq!(server(&status, "ss1_backup")["addr"], *backup);
    let large = filled(2, 1 << 20);
    write(&hosts, "/file", &large);
    hosts.wait("the copy to be there", is_active);
    hosts.kill9("ss1");
    assert!(read(&hosts, "/file") == large, "read from the other family");
    assert_eq!(last_failure(&hosts)["reason"], "its process ended", "its name leads to where it was");
    hosts.serve_ss(0, "ss1", &primary, &["--advertise", &primary]);
    hosts.wait("ss1 to be back", is_active);
    hosts.pairfs(&["fsck"]).ok();
}

#[test]
fn a_server_that_listens_everywhere_has_to_say_where_it_is() {
    let cluster = Cluster::empty(false);
    let data = cluster.desk().join("data");
    let data = data.to_str().unwrap();
    let secret = cluster.desk().join("secret");
    net::secret::write(&secret, &[7; 32]).unwrap();
    let secret = secret.to_str().unwrap();
    let nm = ["nm", "--data", data, "--cluster-secret", secret, "--listen"];
    let ss = [
        "ss",
        "--name",
        "ss1",
        "--data",
        data,
        "--nm",
        "127.0.0.1:1",
        "--cluster-secret",
        secret,
        "--listen",
    ];
    for server in [&nm[..], &ss[..]] {
        for listen in ["0.0.0.0:0", "[::]:0"] {
            let open = [server, &[listen]].concat();
            let ran = run(command(None, &open), b"").exits(2);
            assert!(ran.stderr.contains("--insecure-plaintext"), "{}", ran.stderr);
            let plain = [&open[..], &["--insecure-plaintext"]].concat();
            let ran = run(command(None, &plain), b"").exits(2);
            assert!(ran.stderr.contains("--advertise"), "{}", ran.stderr);
            let nowhere = [&plain[..], &["--advertise", "[::]:7000"]].concat();
            run(command(None, &nowhere), b"").exits(2);
        }
    }
}
