//! What a feed sends, repeats and counts as acknowledged.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use types::record::Record;

const S: Duration = Duration::from_secs(1);

fn row(seq: u64, inode: u64) -> Row {
    Row { seq, subject: Some(Subject::Record(Record { id: inode, seq, ..Record::default() })) }
}

fn sent(feeder: &mut Feeder, rows: &[(u64, u64)]) {
    for (seq, inode) in rows {
        feeder.sent(&row(*seq, *inode));
        feeder.scanned(*seq);
    }
}

#[test]
fn the_cursor_does_not_pass_a_row_that_was_not_applied() {
    let mut feeder = Feeder::new(4);
    assert_eq!(feeder.to_tell(), Some(4), "its own note of it may be older");
    feeder.telling(4);
    feeder.durable(4);
    sent(&mut feeder, &[(5, 1), (7, 2), (9, 3)]);
    assert_eq!(feeder.watermark(), 4);
    feeder.applied(7, S);
    feeder.applied(9, S);
    assert_eq!(feeder.to_tell(), None);
    feeder.applied(5, S);
    assert_eq!(feeder.to_tell(), Some(9), "6 and 8 were merged away");
    feeder.telling(9);
    assert_eq!(feeder.cursor(), 4, "told is not durable");
    feeder.durable(9);
    assert_eq!((feeder.cursor(), feeder.to_tell()), (9, None));
}

#[test]
fn a_failing_file_holds_up_no_other_and_is_tried_after_1_2_4_8_8_s() {
    let mut feeder = Feeder::new(0);
    sent(&mut feeder, &[(1, 1), (2, 2)]);
    feeder.applied(2, S);
    let mut now = 10 * S;
    for pause in [1, 2, 4, 8, 8] {
        feeder.failed(1, now);
        assert_eq!(feeder.next_retry(), Some(now + pause * S));
        assert!(feeder.due(now + pause * S - Duration::from_millis(1), 9).is_empty());
        assert!(feeder.scan().is_some());
        now += pause * S;
        assert_eq!(feeder.due(now, 9), [1]);
        feeder.sent(&row(1, 1));
        assert_eq!(feeder.watermark(), 0);
    }
    assert_eq!(feeder.rows_resent(), 2, "a repetition is not another row");
    feeder.applied(1, now);
    assert_eq!(feeder.watermark(), 2);
}

#[test]
fn a_large_file_on_its_way_is_not_punished_for_being_large() {
    let mut feeder = Feeder::new(0);
    sent(&mut feeder, &[(1, 1)]);
    let mut now = S;
    for _ in 0..20 {
        feeder.under_way(1, now);
        now += UNDER_WAY_PAUSE;
        assert_eq!(feeder.due(now, 9), [1]);
        feeder.sent(&row(1, 1));
    }
    assert_eq!(feeder.rows_resent(), 1);
    feeder.failed(1, now);
    assert_eq!(feeder.next_retry(), Some(now + S), "its first failure");
}

#[test]
fn what_is_told_of_copies_is_a_rate_whatever_order_it_comes_in() {
    let mut feeder = Feeder::new(0);
    feeder.copied(1000, 1000, S);
    feeder.copied(3000, 3000, S + S / 2);
    feeder.copied(2000, 2000, S + S / 2);
    assert_eq!((feeder.byte_rate(S + S / 2), feeder.byte_rate(5 * S)), (3000, 0));
}

#[test]
fn a_newer_version_of_a_file_takes_the_place_of_the_one_that_cannot_be_had() {
    let mut feeder = Feeder::new(0);
    sent(&mut feeder, &[(1, 1)]);
    feeder.failed(1, S);
    sent(&mut feeder, &[(2, 1)]);
    assert!(feeder.due(100 * S, 9).is_empty());
    feeder.applied(2, S);
    assert_eq!(feeder.watermark(), 2);
}

#[test]
fn nothing_is_left_out_when_the_connection_breaks() {
    let mut feeder = Feeder::new(0);
    sent(&mut feeder, &[(1, 1), (2, 2)]);
    feeder.lost(1, S);
    feeder.lost(2, S);
    assert_eq!(feeder.in_flight(), 0);
    assert_eq!(feeder.due(S, 9), [1, 2]);
}

#[test]
fn a_removal_counts_as_seen_only_once_it_is_applied() {
    let mut feeder = Feeder::new(0);
    assert!(!feeder.has_applied(3), "not even read");
    sent(&mut feeder, &[(3, 1)]);
    assert!(!feeder.has_applied(3));
    feeder.applied(3, S);
    assert!(feeder.has_applied(3));
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut feeder = Feeder::new(0);
    let mut seq = 0;
    while let Some((_, room)) = feeder.scan() {
        for _ in 0..room {
            seq += 1;
            sent(&mut feeder, &[(seq, seq)]);
        }
    }
    assert_eq!(feeder.in_flight(), IN_FLIGHT_MAX);
}

#[test]
fn the_rate_is_that_of_the_last_second() {
    let mut feeder = Feeder::new(0);
    for seq in 1..=100 {
        feeder.sent(&row(seq, seq));
        feeder.applied(seq, Duration::from_millis(seq * 20));
    }
    let rate = feeder.rate(2 * S);
    assert!((40..=55).contains(&rate), "{rate}");
    assert_eq!(feeder.rate(10 * S), 0);
}

proptest! {
    /// A feed that goes on changing, a server that fails, answers late and loses its connection: in the
    /// end every file is there at its latest row, and no cursor ever covered a row that was missing.
    #[test]
    fn the_copy_becomes_the_same_whatever_fails(steps in prop::collection::vec((0u8..8, 1u64..6), 1..200)) {
        let mut feed: BTreeMap<u64, u64> = BTreeMap::new();
        let mut latest: HashMap<u64, u64> = HashMap::new();
        let mut copy: HashMap<u64, u64> = HashMap::new();
        let mut wire: Vec<(u64, u64)> = Vec::new();
        let mut feeder = Feeder::new(0);
        let (mut seq, mut now) = (0, Duration::ZERO);
        let heal = std::iter::repeat_n([(1u8, 1u64), (3, 1)], 40).flatten();
        for (what, inode) in steps.into_iter().chain(heal) {
            now += 3 * S;
            match what {
                0 => {
                    seq += 1;
                    if let Some(old) = latest.insert(inode, seq) { feed.remove(&old); }
                    feed.insert(seq, inode);
                }
                1 | 2 => {
                    for old in feeder.due(now, 4) {
                        match feed.get(&old) {
                            Some(inode) => { feeder.sent(&row(old, *inode)); wire.push((old, *inode)); }
                            None => feeder.vanished(old),
                        }
                    }
                    if let Some((after, room)) = feeder.scan() {
                        let page: Vec<_> = feed.range(after + 1..).take(room.min(2)).map(|(s, i)| (*s, *i)).collect();
                        for (seq, inode) in page {
                            feeder.sent(&row(seq, inode));
                            feeder.scanned(seq);
                            wire.push((seq, inode));
                        }
                    }
                }
                3..=5 => for (seq, inode) in wire.drain(..) {
                    let known = copy.entry(inode).or_default();
                    *known = (*known).max(seq);
                    feeder.applied(seq, now);
                },
                6 => for (seq, _) in wire.drain(..) { feeder.failed(seq, now) },
                _ => for (seq, _) in wire.drain(..) { feeder.lost(seq, now) },
            }
            let watermark = feeder.watermark();
            for (seq, inode) in feed.range(..=watermark) {
                prop_assert!(copy.get(inode) == Some(seq), "cursor {watermark} covers row {seq}");
            }
        }
        prop_assert_eq!(copy, latest);
        prop_assert_eq!(feeder.watermark(), seq);
    }
}

#[test]
fn the_pace_is_that_of_the_present_movement_and_forgets_what_was_long_ago() {
    let mut feeder = Feeder::new(0);
    assert_eq!(feeder.byte_pace(S).time_for(1), None);
    // The first tells when it began, not how fast it is.
    feeder.copied(7000, 0, S);
    assert_eq!(feeder.byte_pace(2 * S).time_for(1), None);
    feeder.copied(8000, 0, 2 * S);
    assert_eq!(feeder.byte_pace(2 * S).time_for(500), Some(S / 2));
    feeder.copied(12_000, 0, 3 * S);
    assert_eq!(feeder.byte_pace(3 * S).time_for(2500), Some(S));
    assert_eq!(feeder.byte_pace(6 * S).time_for(1), None, "it has stopped");
    feeder.copied(13_000, 0, 9 * S);
    feeder.copied(13_100, 0, 10 * S);
    assert_eq!(feeder.byte_pace(10 * S).time_for(100), Some(S), "it began anew");
    // For long at a hundred a second, then at a thousand.
    let mut total = 13_100;
    for second in 11..2000 {
        total += if second < 1000 { 100 } else { 1000 };
        feeder.copied(total, 0, second * S);
    }
    let time = feeder.byte_pace(1999 * S).time_for(1000).unwrap();
    assert!(time < S + S / 10, "{time:?}");
}
