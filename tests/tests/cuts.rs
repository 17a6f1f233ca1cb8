//! Ways between hosts are cut in silence, in one direction or both: what is sent is not refused, it just does not arrive.
//! Clients go on wherever a way is left, nothing acknowledged is lost, and when the way is mended the pair comes together
//! by itself. As root between network namespaces; else, and for some cuts always, through proxies.

use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::hosts::Hosts;
use pairfs_tests::wait::{all_along, until};
use pairfs_tests::wire::Wire;
use pairfs_tests::workload::under_load;
use serde_json::Value;
use std::time::Duration;
use types::Code;
use types::capability::right;

/// For so long it is looked whether something stays as it is.
const WAITS: Duration = Duration::from_secs(2);
const NM: usize = 0;
const SS1: usize = 1;
const BACKUP: usize = 2;

/// nm on host 0, ss1 on 1, ss1_backup on 2, and clients on a host of their own.
fn serve(mut hosts: Hosts) -> Hosts {
    hosts.serve_nm(&[]);
    let addrs = [SS1, BACKUP].map(|host| hosts.addr(host));
    hosts.serve_ss(SS1, "ss1", &addrs[0], &[]);
    hosts.serve_ss(BACKUP, "ss1_backup", &addrs[1], &[]);
    hosts.wait("the pair to be active", is_whole);
    hosts
}

fn is_whole(status: &Value) -> bool {
    let pair = pair(status);
    pair["state"] == "active"
        && pair["acting"] == "ss1"
        && pair["lag_rows"] == 0
        && pair["at_risk_files"] == 0
        && pair["owed_versions"] == 0
}

/// Who acts while the way is cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Acts {
    /// The backup: the name manager does not hear ss1, or is not heard by it.
    Backup,
    /// ss1, without a break.
    Ss1,
}

fn cut(hosts: Hosts, ways: &[(usize, usize)], acts: Acts) {
    let hosts = serve(hosts);
    let epoch = |hosts: &Hosts| pair(&hosts.pairfs(&["--json", "status"]).ok().json())["epoch"].clone();
    let before = epoch(&hosts);
    let ledger = under_load(&hosts, 2, 1, |ledger| {
        ledger.wait_writes(4, LATER);
        ways.iter().for_each(|(from, to)| hosts.cut_way(*from, *to));
        ledger.wait_writes(12, LATER);
        match acts {
            Acts::Backup => {
                hosts.wait("the backup to act", |status| pair(status)["acting"] == "ss1_backup");
            }
            Acts::Ss1 => {
                let relays = || !hosts.events("relay-began").is_empty();
                until(LATER, "the name manager to help", relays);
            }
        }
        ledger.wait_writes(4, LATER);
        ways.iter().for_each(|(from, to)| hosts.mend_way(*from, *to));
        ledger.wait_writes(4, LATER);
    });
    hosts.wait("the pair to be whole", is_whole);
    assert_eq!(ledger.unknown(), 0, "a client was left without an answer");
    ledger.verify(&hosts);
    hosts.pairfs(&["fsck"]).ok();
    if acts == Acts::Ss1 {
        assert_eq!(epoch(&hosts), before, "nobody was promoted");
        assert!(hosts.events("failed").is_empty(), "{:?}", hosts.events("failed"));
    }
}

fn both(one: usize, other: usize) -> [(usize, usize); 2] {
    [(one, other), (other, one)]
}

#[test]
fn a_primary_cut_off_from_the_name_manager_is_replaced_and_comes_back() {
    cut(Hosts::new(3), &both(NM, SS1), Acts::Backup);
}

#[test]
fn a_primary_that_the_name_manager_does_not_hear_is_replaced_and_comes_back() {
    cut(Hosts::new(3), &[(SS1, NM)], Acts::Backup);
}

#[test]
fn a_primary_that_does_not_hear_the_name_manager_is_replaced_and_comes_back() {
    cut(Hosts::new(3), &[(NM, SS1)], Acts::Backup);
}

#[test]
fn partners_that_are_cut_off_from_each_other_lose_nothing_and_nobody_is_promoted() {
    cut(Hosts::new(3), &both(SS1, BACKUP), Acts::Ss1);
}

#[test]
fn a_backup_that_does_not_hear_its_primary_loses_nothing() {
    cut(Hosts::new(3), &[(SS1, BACKUP)], Acts::Ss1);
}

#[test]
fn a_primary_that_does_not_hear_its_backup_goes_on() {
    cut(Hosts::new(3), &[(BACKUP, SS1)], Acts::Ss1);
}

#[test]
fn a_primary_behind_a_proxy_cut_off_from_the_name_manager_is_replaced_and_comes_back() {
    cut(Hosts::behind_proxies(3), &both(NM, SS1), Acts::Backup);
}

#[test]
fn a_primary_behind_a_proxy_that_does_not_hear_the_name_manager_is_replaced_and_comes_back() {
    cut(Hosts::behind_proxies(3), &[(NM, SS1)], Acts::Backup);
}

#[test]
fn partners_behind_proxies_that_are_cut_off_from_each_other_lose_nothing() {
    cut(Hosts::behind_proxies(3), &both(SS1, BACKUP), Acts::Ss1);
}

/// Clients do not get to ss1, or it does not get to them, and everybody else does: nobody is promoted for that. They
/// are told in time, `doctor` says where it is, and whoever takes what may be old is served by the backup.
fn cut_from_clients(hosts: Hosts, ways: impl Fn(usize) -> Vec<(usize, usize)>) {
    let hosts = serve(hosts);
    let ways = ways(hosts.clients());
    hosts.pairfs_with(&["write", "-p", "/a/file", "-"], b"content").ok();
    hosts.wait("the copy to be there", is_whole);
    ways.iter().for_each(|(from, to)| hosts.cut_way(*from, *to));
    let read = hosts.pairfs(&["read", "/a/file", "--timeout", "3"]).exits(6);
    assert!(read.took < LATER && read.stderr.contains("pairfs doctor"), "{}", read.stderr);
    let write = hosts.pairfs_with(&["write", "/a/file", "-", "--timeout", "3"], b"changed").exits(6);
    assert!(write.stderr.contains("pairfs doctor"), "{}", write.stderr);
    assert_eq!(hosts.pairfs(&["read", "/a/file", "--stale-ok", "--timeout", "20"]).ok().stdout, b"content");
    assert!(hosts.pairfs(&["ls", "/a"]).ok().text().contains("file"), "the name manager answers");
    let doctor = hosts.pairfs(&["doctor"]).exits(1);
    assert!(doctor.text().contains("this machine does not reach ss1 at"), "{}", doctor.text());
    assert!(doctor.text().contains("ss1_backup answers this machine"), "{}", doctor.text());
    assert!(hosts.events("failed").is_empty(), "nobody failed");
    // Who waits long enough gets an answer.
    std::thread::scope(|scope| {
        let late = scope.spawn(|| hosts.pairfs_with(&["write", "/a/file", "-"], b"changed"));
        all_along(WAITS, "it waits", || !late.is_finished());
        ways.iter().for_each(|(from, to)| hosts.mend_way(*from, *to));
        late.join().expect("it ends").ok();
    });
    assert_eq!(hosts.pairfs(&["read", "/a/file"]).ok().stdout, b"changed");
    hosts.wait("the copy to be there", is_whole);
    hosts.pairfs(&["fsck"]).ok();
    hosts.pairfs(&["doctor"]).ok();
}

#[test]
fn clients_cut_off_from_the_acting_member_are_told_and_nobody_is_promoted() {
    cut_from_clients(Hosts::new(3), |clients| both(clients, SS1).to_vec());
}

#[test]
fn clients_that_the_acting_member_does_not_hear_are_told_and_nobody_is_promoted() {
    cut_from_clients(Hosts::new(3), |clients| vec![(clients, SS1)]);
}

#[test]
fn clients_that_do_not_hear_the_acting_member_are_told_and_nobody_is_promoted() {
    cut_from_clients(Hosts::new(3), |clients| vec![(SS1, clients)]);
}

#[test]
fn clients_cut_off_through_a_proxy_from_the_acting_member_are_told_and_nobody_is_promoted() {
    cut_from_clients(Hosts::behind_proxies(3), |clients| both(clients, SS1).to_vec());
}

/// The test's own connection gets to ss1, which gets to nobody else: once its lease may have ended it answers nothing,
/// least of all what is old.
#[test]
fn i1_an_old_primary_that_clients_still_reach_refuses() {
    let hosts = serve(Hosts::behind_proxies(3));
    hosts.pairfs_with(&["write", "-p", "/file", "-"], b"before").ok();
    hosts.wait("the copy to be there", is_whole);
    let wire = Wire::open_at(&hosts.nm_addr(), hosts.key());
    let located = wire.locate("/file", right::READ | right::WRITE).unwrap();
    let ss1 = wire.to_server("ss1").unwrap();
    assert_eq!(&wire.read(&ss1, &located).unwrap().1[..], b"before");

    let ways = [both(NM, SS1), both(SS1, BACKUP)].concat();
    ways.iter().for_each(|(from, to)| hosts.cut_way(*from, *to));
    // What it answers as long as it may is what was there; it may not any more before somebody else does.
    let (mut served, mut refused) = (0, None);
    until(LATER, "it to refuse", || {
        match wire.read(&ss1, &located) {
            Ok((_, bytes)) => {
                assert_eq!(&bytes[..], b"before");
                served += 1;
            }
            Err(error) => refused = Some(error),
        }
        refused.is_some()
    });
    eprintln!("it answered {served} times after the cut, then: {}", refused.unwrap());
    hosts.pairfs_with(&["write", "/file", "-"], b"after").ok();
    assert_eq!(hosts.pairfs(&["read", "/file"]).ok().stdout, b"after");
    all_along(WAITS, "it refuses", || wire.read(&ss1, &located).is_err());
    let late = wire.put(&ss1, &located, b"by the old one").unwrap_err();
    assert_ne!(late.code, Code::OutcomeUnknown, "{late}");

    ways.iter().for_each(|(from, to)| hosts.mend_way(*from, *to));
    hosts.wait("the pair to be whole", is_whole);
    assert_eq!(hosts.pairfs(&["read", "/file"]).ok().stdout, b"after");
    hosts.pairfs(&["fsck"]).ok();
}
