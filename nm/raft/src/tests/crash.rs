//! What a kill or a power cut leaves: all that was acknowledged, once, in order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use log::Disk;
use log::sim::{Count, SimDisk};
use tokio::task::JoinSet;

use crate::tests::support::{Media, Member, POISON, Random, StateFile, small};
use crate::{EXIT_DAMAGED, ProposeError, RaftConfig};

/// Proposes in parallel and returns once a random share is acknowledged: (index, payload).
fn propose_some(member: &Member, random: &mut Random, round: u64) -> BTreeMap<u64, Vec<u8>> {
    let all = 1 + random.below(60);
    let wait_for = random.below(all + 1);
    member.run(async {
        let mut proposals = JoinSet::new();
        for number in 0..all {
            let raft = member.raft.clone();
            let payload = format!("{round}/{number} {}", "x".repeat(random.below(300) as usize));
            proposals.spawn(async move {
                let (index, _) = raft.propose(Bytes::from(payload.clone())).await.unwrap();
                (index, payload.into_bytes())
            });
        }
        let mut acknowledged = BTreeMap::new();
        while acknowledged.len() < wait_for as usize {
            let (index, payload) = proposals.join_next().await.unwrap().unwrap();
            acknowledged.insert(index, payload);
        }
        acknowledged
    })
}

/// Every acknowledged proposal is there under its index, and none is there twice.
pub(super) fn check(member: &Member, acknowledged: &BTreeMap<u64, Vec<u8>>, seed: u64) {
    let journal = member.journal();
    for (index, payload) in acknowledged {
        assert_eq!(journal.get(index), Some(payload), "seed {seed}: entry {index} was acknowledged");
    }
    let distinct: BTreeSet<_> = journal.values().collect();
    assert_eq!(distinct.len(), journal.len(), "seed {seed}: a proposal is there twice");
}

/// Proposes one after the other, at most so many, until the member has stopped: what was acknowledged.
pub(super) fn propose_until_it_stops(member: &Member, most: u64) -> BTreeMap<u64, Vec<u8>> {
    let mut acknowledged = BTreeMap::new();
    for number in 0..most {
        let payload = format!("{number}");
        match member.try_propose(&payload) {
            Ok(index) => drop(acknowledged.insert(index, payload.into_bytes())),
            Err(error) => {
                assert!(matches!(error, ProposeError::Unknown | ProposeError::Stopped(_)), "{error}");
                break;
            }
        }
    }
    acknowledged
}

fn survives(seed: u64, end: impl Fn(Member, &mut Random) -> Media) {
    let mut random = Random::new(seed);
    let mut media = Media::default();
    let mut acknowledged = BTreeMap::new();
    let mut term = None;
    for round in 0..8 {
        let member = Member::start(&media).unwrap();
        check(&member, &acknowledged, seed);
        let now = Some(member.raft.metrics().term);
        assert!(now > term, "seed {seed}: the vote of term {term:?} is forgotten: {now:?}");
        term = now;
        acknowledged.extend(propose_some(&member, &mut random, round));
        media = end(member, &mut random);
    }
}

#[test]
fn a_killed_member_keeps_every_acknowledged_proposal_once_and_in_order() {
    for seed in 0..20 {
        survives(seed, |member, _| member.kill());
    }
}

#[test]
fn a_member_that_lost_power_keeps_every_acknowledged_proposal_once_and_in_order() {
    for seed in 100..140 {
        survives(seed, |member, random| member.cut(random));
    }
}

#[test]
fn a_disk_that_stops_at_any_sync_costs_nothing_that_was_acknowledged() {
    let mut random = Random::new(7);
    for sync in 1..80 {
        let media = Media::default();
        media.log.freeze_at(Count::Syncs, sync);
        let mut acknowledged = BTreeMap::new();
        let left = match Member::start(&media) {
            Err(_) => Media { log: media.log.crash(sync), state: StateFile::default() },
            Ok(member) => {
                acknowledged = propose_until_it_stops(&member, u64::MAX);
                assert_eq!(member.run(member.raft.failed()).exit_code, 1);
                member.cut(&mut random)
            }
        };
        let member = Member::start(&left).unwrap();
        check(&member, &acknowledged, sync);
        member.propose("goes on");
    }
}

#[test]
fn a_failed_sync_ends_the_member_and_is_never_acknowledged() {
    let media = Media::default();
    let member = Member::start(&media).unwrap();
    let index = member.propose("kept");
    media.log.fail_next_sync();
    assert_eq!(member.try_propose("lost"), Err(ProposeError::Unknown));
    assert_eq!(member.run(member.raft.failed()).exit_code, 1);
    assert!(matches!(member.try_propose("late"), Err(ProposeError::Stopped(_))));
    let member = Member::start(&member.cut(&mut Random::new(1))).unwrap();
    assert_eq!(member.journal().get(&index), Some(&b"kept".to_vec()));
}

#[test]
fn a_state_machine_that_panics_ends_the_member_instead_of_hanging_its_proposers() {
    let member = Member::start(&Media::default()).unwrap();
    let poison = std::str::from_utf8(POISON).unwrap();
    assert_eq!(member.try_propose(poison), Err(ProposeError::Unknown));
    assert_eq!(member.run(member.raft.failed()).exit_code, 1);
    member.kill();
}

#[test]
fn a_stopped_member_has_nothing_to_repeat() {
    let member = Member::start(&Media::default()).unwrap();
    let index = member.propose("one");
    let member = Member::start(&member.shutdown()).unwrap();
    // The new leader's blank entry alone comes after.
    assert!(member.raft.metrics().durable > index, "the shutdown left {index} to be repeated");
    assert_eq!(member.journal().into_values().collect::<Vec<_>>(), [b"one"]);
}

#[test]
fn a_log_that_was_purged_restarts_and_goes_on() {
    let mut media = Media::default();
    let mut expected = BTreeMap::new();
    for round in 0..3 {
        let member = Member::start(&media).unwrap();
        assert_eq!(member.journal(), expected);
        for number in 0..200 {
            let payload = format!("{round}/{number}");
            expected.insert(member.propose(&payload), payload.into_bytes());
        }
        member.purge();
        media = member.kill();
    }
    let segments = media.log.list(&small().log_folder).unwrap().len();
    assert!(segments < 10, "{segments} segments are left of a log that was purged");
}

#[test]
fn what_is_not_durable_is_bounded_without_anyone_asking() {
    let member = Member::start(&Media::default()).unwrap();
    for number in 0..300 {
        member.propose(&number.to_string());
    }
    let metrics = member.raft.metrics();
    assert!(
        metrics.durable + 2 * small().dirty_entries >= metrics.applied,
        "a crash would repeat from {} to {}",
        metrics.durable,
        metrics.applied
    );
}

#[test]
fn a_log_that_begins_after_the_state_is_refused() {
    let member = Member::start(&Media::default()).unwrap();
    for number in 0..100 {
        member.propose(&number.to_string());
    }
    member.purge();
    let media = Media { state: StateFile::default(), ..member.shutdown() };
    let error = Member::start(&media).err().expect("a hole between state and log");
    assert_eq!(error.exit_code(), EXIT_DAMAGED, "{error}");
    assert!(error.to_string().contains("--rebuild"), "{error}");
}

#[test]
fn a_lost_log_is_refused_instead_of_begun_anew() {
    let member = Member::start(&Media::default()).unwrap();
    member.propose("one");
    let media = Media { log: SimDisk::new(), ..member.shutdown() };
    let error = Member::start(&media).err().expect("a state without its log");
    assert_eq!(error.exit_code(), EXIT_DAMAGED, "{error}");
}

#[test]
fn a_state_of_another_member_is_refused() {
    let media = Member::start(&Media::default()).unwrap().shutdown();
    assert!(Member::start_with(RaftConfig { node_id: 2, ..small() }, &media).is_err());
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_damage_not_a_torn_tail() {
    let marker = b"flip me, I was acknowledged";
    let member = Member::start(&Media::default()).unwrap();
    member.propose(std::str::from_utf8(marker).unwrap());
    let media = member.shutdown();
    let folder = small().log_folder;
    let mut flipped = 0;
    for name in media.log.list(&folder).unwrap() {
        let name = format!("{folder}/{name}");
        let bytes = media.log.bytes(&name).unwrap();
        if let Some(at) = bytes.windows(marker.len()).position(|window| window == marker) {
            assert!(media.log.flip(&name, at as u64, 1));
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let error = Member::start(&media).err().expect("damage");
    assert_eq!(error.exit_code(), EXIT_DAMAGED, "{error}");
    assert!(error.to_string().contains("--rebuild"), "{error}");
}
