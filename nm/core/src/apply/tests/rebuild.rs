//! A cluster made anew from what its members hold (R26).

use super::*;
use crate::keys::OwedEntry;
use crate::store::{Store, Table};
use prost::Message;
use types::rebuild::{PreparedWrite, Rebuild, StandReport, Step, TakeIn};
use types::record::{Pair, User, Version, on};

fn command(step: Step) -> Op {
    Op::Rebuild(Rebuild { step: step as i32, ..Rebuild::default() })
}

fn report(server: &str) -> StandReport {
    StandReport {
        server: server.into(),
        addr: "127.0.0.1:1".into(),
        cluster_id: vec![1; 16],
        generation: 9,
        token: b"token".to_vec(),
        incarnation: 7,
        journal: 100,
        boot: "b".into(),
        ..StandReport::default()
    }
}

/// A name manager that knows nothing yet, and that has begun.
fn begun(members: &[&str]) -> World {
    begun_with_forgotten(members, "", 0)
}

fn bootstrap() -> Bootstrap {
    Bootstrap {
        cluster_id: vec![1; 16],
        master_key: vec![5; 32],
        admin: "admin".into(),
        key_id: "k2".into(),
        key: vec![6; 32],
        generation: 12,
        fast: true,
    }
}

/// The same, and one of them has forgotten tombstones of the pair's feed up to `upto`.
fn begun_with_forgotten(members: &[&str], forgetful: &str, upto: u64) -> World {
    let mut world = World { store: MemoryStore::default(), index: 0, time_ms: 1_000_000, requests: 0 };
    let members = members.iter().map(|name| StandReport {
        forgotten_pair: if *name == forgetful { upto } else { 0 },
        ..report(name)
    });
    let begin = Rebuild { step: Step::Begin as i32, cluster: Some(bootstrap()), members: members.collect() };
    world.ok(Op::Rebuild(begin));
    world
}

fn take(world: &mut World, server: &str, rows: Vec<Row>) {
    world.ok(Op::TakeIn(TakeIn { server: server.into(), rows, ..TakeIn::default() }));
}

fn take_write(world: &mut World, server: &str, write: PreparedWrite) {
    world.ok(Op::TakeIn(TakeIn { server: server.into(), writes: vec![write], ..TakeIn::default() }));
}

fn slices(world: &mut World, step: Step) {
    while world.ok(command(step)).more {}
}

fn all_rows(world: &World) -> Vec<Row> {
    let state = world.state();
    [0, 1].iter().flat_map(|feed| state.feed_rows(*feed, 0, usize::MAX, usize::MAX).unwrap()).collect()
}

/// A cluster with a tree, as both members know it.
fn lived() -> World {
    let mut world = World::new();
    for (path, kind) in [("/docs/inner", Kind::Folder), ("/docs/empty", Kind::File), ("/link", Kind::Symlink)]
    {
        let make = world.make(path, kind, true);
        world.ok(make);
    }
    for (name, content) in [("a", 1), ("a", 2), ("b", 3), ("trashed", 4), ("gone", 5)] {
        world.commit(name, content);
    }
    let rename = world.rename("/docs/inner", "/moved", false);
    world.ok(rename);
    for (path, now) in [("/trashed", false), ("/gone", true)] {
        let remove = world.remove(path, false, now);
        world.ok(remove);
    }
    world
}

fn file(id: u64, parent: u64, name: &str, seq: u64) -> Row {
    let record = Record {
        id,
        parent,
        name: name.into(),
        kind: Kind::File as i32,
        pair: 1,
        seq,
        stamp: seq,
        content_seq: seq,
        owner: "admin".into(),
        changed_ms: 5000,
        last_number: 1,
        head_epoch: 1,
        head_number: 1,
        versions: vec![Version {
            session: vec![id as u8 | 1; 16],
            epoch: 1,
            number: 1,
            size: 3,
            sha256: vec![id as u8; 32],
            ..Version::default()
        }],
        ..Record::default()
    };
    Row { seq, subject: Some(Subject::Record(record)) }
}

fn folder(id: u64, parent: u64, name: &str, seq: u64) -> Row {
    let mut row = file(id, parent, name, seq);
    if let Some(Subject::Record(record)) = &mut row.subject {
        (record.kind, record.pair) = (Kind::Folder as i32, 0);
        record.versions.clear();
        (record.head_epoch, record.head_number) = (0, 0);
    }
    row
}

fn tombstone(id: u64, parent: u64, name: &str, seq: u64) -> Row {
    let mut row = file(id, parent, name, seq);
    if let Some(Subject::Record(record)) = &mut row.subject {
        record.kind = Kind::Tombstone as i32;
        record.versions.clear();
    }
    row
}

fn pair_row() -> Row {
    let pair = Pair {
        id: 1,
        name: "ss1".into(),
        primary: "ss1".into(),
        backup: "ss1_backup".into(),
        preferred: "ss1".into(),
        acting: "ss1".into(),
        epoch: 3,
        formed: true,
        ..Pair::default()
    };
    Row { seq: 40, subject: Some(Subject::Pair(pair)) }
}

fn write(session: u8, name: &str, file: u64, seen: u64) -> PreparedWrite {
    let asker = Asker::new("admin", RequestKey::default(), [0; 32]);
    PreparedWrite {
        session: vec![session; 16],
        pair: 1,
        folder: 1,
        name: name.into(),
        file,
        asker: Some(asker),
        size: 5,
        sha256: vec![session; 32],
        seen,
        ..PreparedWrite::default()
    }
}

/// Both have reported, `rows` are taken in and have their place.
fn settled(rows: Vec<Row>) -> World {
    let mut world = begun(&["ss1", "ss1_backup"]);
    take(&mut world, "ss1", [vec![pair_row(), folder(1, 0, "", 1)], rows].concat());
    slices(&mut world, Step::Settle);
    world
}

fn named(world: &World, name: &str) -> Option<Record> {
    world.state().child(types::ids::InodeId(1), name).unwrap()
}

#[test]
fn i7_what_was_lost_is_what_both_members_hold_numbers_and_names_included() {
    let old = lived();
    let mut new = begun(&["ss1", "ss1_backup"]);
    for server in ["ss1", "ss1_backup"] {
        take(&mut new, server, all_rows(&old));
    }
    slices(&mut new, Step::Settle);
    slices(&mut new, Step::Finish);
    for table in [Table::Inodes, Table::Names, Table::Trash] {
        assert_eq!(dump(&new.store, table), dump(&old.store, table), "{table:?}");
    }
    let (before, after) = (old.state().pair(1).unwrap().unwrap(), new.state().pair(1).unwrap().unwrap());
    assert_eq!((after.files, after.bytes, after.owed), (before.files, before.bytes, before.owed));
    assert_eq!((after.epoch, after.phase(), &after.acting[..]), (before.epoch + 1, Phase::Promoted, "ss1"));
    let ids = |world: &World| {
        let rows = world.state().feed_rows(1, 0, usize::MAX, usize::MAX).unwrap();
        rows.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    assert_eq!(ids(&new), ids(&old), "a member that holds a row finds nothing new in it");
    assert!(new.state().feed_end(0).unwrap() > old.state().feed_end(0).unwrap());
    let cluster = new.state().cluster().unwrap().unwrap();
    assert_eq!((cluster.generation, cluster.cluster_id), (12, vec![1; 16]));
    assert!(!new.state().is_rebuilding().unwrap());
    assert_eq!(new.state().user_key("admin", "k1").unwrap(), None, "secrets are not rebuilt");
    assert_eq!(new.state().user_key("admin", "k2").unwrap(), Some(vec![6; 32]));
}

#[test]
fn r26_numbers_of_the_new_life_are_above_all_that_was_seen() {
    let mut world = settled(vec![file(500, 1, "a", 77)]);
    slices(&mut world, Step::Finish);
    let first = world.state().feed_end(0).unwrap();
    assert!(first > 77);
    let server = world.state().server("ss1").unwrap().unwrap();
    assert!(server.incarnation > 7);
    let pair = world.state().pair(1).unwrap().unwrap();
    assert_eq!(pair.epoch, 4);
    let next = world.ok(Op::Register(world.register("ss1", b"token", b"next"))).server.unwrap();
    assert!(next.incarnation > server.incarnation, "its own disk is known by its token");
}

#[test]
fn r26_members_in_any_order_make_the_same_cluster() {
    let rows = || {
        vec![file(20, 1, "a", 50), folder(21, 1, "d", 51), tombstone(20, 1, "a", 60), file(22, 21, "x", 52)]
    };
    let make = |order: [usize; 4]| {
        let mut world = begun(&["ss1", "ss1_backup"]);
        take(&mut world, "ss1", vec![folder(1, 0, "", 1)]);
        for at in order {
            take(&mut world, "ss1_backup", vec![rows()[at].clone()]);
        }
        take(&mut world, "ss1", vec![pair_row()]);
        slices(&mut world, Step::Settle);
        slices(&mut world, Step::Finish);
        world.store
    };
    let one = make([0, 1, 2, 3]);
    for order in [[3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
        assert_eq!(make(order), one);
    }
}

#[test]
fn i4_what_one_member_knows_to_be_removed_stays_removed() {
    let world = settled(vec![file(20, 1, "a", 50), tombstone(20, 1, "a", 60), file(20, 1, "a", 50)]);
    assert!(named(&world, "a").is_none());
    assert!(world.state().inode(20).unwrap().unwrap().is_tombstone());
    assert_eq!(world.state().pair(1).unwrap().unwrap().files, 0);
}

#[test]
fn i4_what_lay_in_a_folder_that_was_purged_goes_with_it() {
    let world = settled(vec![tombstone(30, 1, "d", 60), folder(31, 30, "inner", 20), file(32, 31, "a", 21)]);
    for id in [31, 32] {
        assert!(world.state().inode(id).unwrap().unwrap().is_tombstone(), "{id}");
    }
}

#[test]
fn i4_what_was_removed_so_long_ago_that_its_tombstone_is_forgotten_stays_removed() {
    let members = ["ss1", "ss1_backup"];
    let mut world = begun_with_forgotten(&members, "ss1", 60);
    // ss1_backup slept through the removal of 20, and has never heard of 22, which ss1 has.
    let told = [
        vec![file(20, 1, "gone", 50), file(21, 1, "kept", 51)],
        vec![file(21, 1, "kept", 51), file(22, 1, "new", 55)],
    ];
    for _look in 0..2 {
        take(&mut world, "ss1_backup", [vec![pair_row(), folder(1, 0, "", 1)], told[0].clone()].concat());
        take(&mut world, "ss1", told[1].clone());
    }
    slices(&mut world, Step::Settle);
    let there = ["gone", "kept", "new"].map(|name| named(&world, name).is_some());
    assert_eq!(there, [false, true, true]);
    assert_eq!(world.state().collected(1).unwrap(), 60, "or members would refuse its rows");
}

#[test]
fn i4_a_removal_that_one_member_still_remembers_keeps_the_writes_away_that_came_before_it() {
    let mut world = begun_with_forgotten(&["ss1", "ss1_backup"], "ss1", 60);
    take(&mut world, "ss1", vec![pair_row(), folder(1, 0, "", 1)]);
    take(&mut world, "ss1_backup", vec![pair_row(), folder(1, 0, "", 1), tombstone(20, 1, "a", 50)]);
    slices(&mut world, Step::Settle);
    take_write(&mut world, "ss1_backup", write(9, "a", 0, 49));
    take_write(&mut world, "ss1_backup", write(10, "as it was called before", 20, 49));
    assert!(named(&world, "a").is_none() && named(&world, "as it was called before").is_none());
    assert!(world.state().inode(20).unwrap().is_none(), "its tombstone has been collected all the same");
    take_write(&mut world, "ss1_backup", write(11, "a", 0, 50));
    assert!(named(&world, "a").is_some(), "written anew after the removal");
    slices(&mut world, Step::Finish);
    let notes = |key: &[u8]| key.starts_with(crate::keys::GIVEN_UP);
    let mut left = 0;
    world
        .store
        .scan(Table::Meta, &[], &[], &mut |key, _| {
            left += u32::from(notes(key));
            true
        })
        .unwrap();
    assert_eq!(left, 0, "the notes are gone with the rebuild");
}

#[test]
fn of_two_files_of_one_name_the_newer_keeps_it_and_neither_is_lost() {
    let world = settled(vec![file(20, 1, "a", 50), file(21, 1, "a", 70)]);
    assert_eq!(named(&world, "a").unwrap().id, 21);
    assert_eq!(named(&world, "a (20)").unwrap().id, 20);
}

#[test]
fn what_has_no_place_is_found_in_a_folder_of_its_own() {
    let rows = vec![file(20, 99, "orphan", 50), folder(30, 31, "a", 60), folder(31, 30, "b", 61)];
    let world = settled(rows);
    let found = named(&world, "found by the rebuild").unwrap();
    let state = world.state();
    let unknown = state.child(found.inode(), "folder 99").unwrap().unwrap();
    assert_eq!((unknown.id, state.child(unknown.inode(), "orphan").unwrap().unwrap().id), (99, 20));
    let loose = state.child(found.inode(), "a").unwrap().unwrap();
    assert_eq!(state.child(loose.inode(), "b").unwrap().unwrap().id, 31, "the loop is cut");
}

#[test]
fn r26_a_prepared_write_is_the_head_if_nothing_changed_since_it_was_made() {
    let mut world = settled(vec![file(20, 1, "a", 50)]);
    take_write(&mut world, "ss1", write(9, "a", 20, 50));
    // In the journal it stands behind the other, and it was made before that was decided.
    take_write(&mut world, "ss1", write(11, "a", 20, 50));
    let record = named(&world, "a").unwrap();
    assert_eq!(record.head_version().unwrap().session, vec![11; 16]);
    assert_eq!(record.versions.len(), 3);
    assert_eq!(record.head(), VersionNumber { epoch: 4, number: 3 });
    assert_eq!(record.head_version().unwrap().parent(), VersionNumber { epoch: 4, number: 2 });
    assert_eq!(world.state().pair(1).unwrap().unwrap().bytes, 5);
}

#[test]
fn r26_a_prepared_write_that_something_overtook_is_a_conflict_version() {
    let mut world = settled(vec![file(20, 1, "a", 50)]);
    take_write(&mut world, "ss1", write(9, "a", 20, 49));
    let record = named(&world, "a").unwrap();
    assert_eq!(record.head(), VersionNumber { epoch: 1, number: 1 });
    assert!(record.versions[1].is(mark::CONFLICT) && record.versions[1].session == vec![9; 16]);
}

#[test]
fn r26_prepared_writes_of_a_file_of_which_versions_ended_are_taken_in() {
    let mut ended = file(20, 1, "a", 50);
    if let Some(Subject::Record(record)) = &mut ended.subject {
        record.ended = vec![9; 16];
    }
    let mut world = settled(vec![ended]);
    for session in (31..71).step_by(2) {
        take_write(&mut world, "ss1", write(session, "a", 20, 50));
    }
    let record = named(&world, "a").unwrap();
    assert_eq!(record.versions.len(), types::limits::VERSIONS_KEPT);
    assert_eq!(record.ended_sessions().count(), 12, "the members are not known yet: none is forgotten");
}

#[test]
fn r12_a_prepared_write_that_was_overtaken_is_no_head_either_when_it_comes_to_the_acting_member() {
    let mut world = settled(vec![file(20, 1, "a", 50)]);
    take_write(&mut world, "ss1_backup", write(9, "a", 20, 49));
    slices(&mut world, Step::Finish);
    let epoch = world.pair().epoch;
    let lacks = vec![VersionRef { inode: 20, session: vec![9; 16], sha256: vec![9; 32] }];
    world.ok(Op::Owe(Owe { pair: 1, epoch, lacks, done: true, ..Owe::default() }));
    assert_eq!(world.pair().owed, 1);
    let sessions = vec![vec![9; 16]];
    world.ok(Op::Adopt(Adopt { pair: 1, epoch, inode: 20, holder: "ss1_backup".into(), sessions }));
    let record = named(&world, "a").unwrap();
    assert_eq!(record.head(), VersionNumber { epoch: 1, number: 1 });
    assert_eq!((record.versions.len(), record.versions[1].marks), (2, mark::CONFLICT));
}

#[test]
fn r26_a_prepared_write_is_taken_in_once_however_many_hold_it() {
    let mut world = settled(vec![]);
    take_write(&mut world, "ss1", write(9, "new", 0, 50));
    take_write(&mut world, "ss1_backup", write(9, "new", 0, 50));
    let record = named(&world, "new").unwrap();
    assert_eq!((record.versions.len(), record.versions[0].durable_on), (1, on::BOTH));
    assert_eq!(world.state().pair(1).unwrap().unwrap().files, 1);
}

#[test]
fn i4_a_prepared_write_does_not_bring_a_file_back_that_was_removed_after_it() {
    let mut world = settled(vec![tombstone(20, 1, "a", 50)]);
    take_write(&mut world, "ss1", write(9, "a", 0, 49));
    assert!(named(&world, "a").is_none());
    take_write(&mut world, "ss1", write(11, "a", 0, 50));
    assert!(named(&world, "a").is_some(), "written anew after the removal");
    take_write(&mut world, "ss1_backup", write(12, "a", 0, 49));
    assert_eq!(
        named(&world, "a").unwrap().versions.len(),
        1,
        "the later write does not bring the earlier one along"
    );
}

#[test]
fn i4_a_prepared_write_that_ended_does_not_come_back_under_a_name_that_its_file_no_longer_had() {
    let mut moved = tombstone(20, 1, "its last name", 50);
    let mut overwritten = file(21, 1, "b", 40);
    for (row, session) in [(&mut moved, 9), (&mut overwritten, 11)] {
        if let Some(Subject::Record(record)) = &mut row.subject {
            record.ended = vec![session; 16];
        }
    }
    let mut world = settled(vec![moved, overwritten]);
    take_write(&mut world, "ss1_backup", write(9, "a", 0, 30));
    take_write(&mut world, "ss1_backup", write(11, "a", 0, 30));
    assert!(named(&world, "a").is_none());
    take_write(&mut world, "ss1_backup", write(13, "a", 0, 30));
    assert!(named(&world, "a").is_some(), "another one may have been acknowledged");
}

#[test]
fn a_prepared_write_of_a_user_without_the_right_is_not_taken_in() {
    let mut world = settled(vec![file(20, 1, "a", 50)]);
    let asker = Some(Asker::new("eve", RequestKey::default(), [0; 32]));
    take_write(&mut world, "ss1", PreparedWrite { asker, ..write(9, "a", 20, 50) });
    assert_eq!(named(&world, "a").unwrap().versions.len(), 1);
}

#[test]
fn r12_what_was_owed_is_still_owed_by_its_holder() {
    let mut row = file(20, 1, "a", 50);
    if let Some(Subject::Record(record)) = &mut row.subject {
        record.versions[0].marks = mark::OWED;
        record.versions[0].holder = "ss1_backup".into();
    }
    let world = settled(vec![row]);
    assert_eq!(world.state().pair(1).unwrap().unwrap().owed, 1);
    let owed = world.state().owed_of(1, "ss1_backup", 9).unwrap();
    assert_eq!(owed[0].0, 20);
    let key = crate::keys::owed(1, 20, &owed[0].1[0].session);
    let entry = world.store.get(Table::Owed, &key).unwrap().unwrap();
    assert_eq!(OwedEntry::decode(&entry[..]).unwrap().content_seq, 50);
}

#[test]
fn r26_with_one_member_it_acts_and_leaves_room_for_what_the_other_may_have_learnt() {
    let mut world = begun(&["ss1_backup"]);
    let mut owed = file(20, 1, "a", 50);
    if let Some(Subject::Record(record)) = &mut owed.subject {
        (record.versions[0].marks, record.versions[0].holder) = (mark::OWED, "ss1".into());
    }
    take(&mut world, "ss1_backup", vec![pair_row(), folder(1, 0, "", 1), owed]);
    slices(&mut world, Step::Settle);
    slices(&mut world, Step::Finish);
    let pair = world.state().pair(1).unwrap().unwrap();
    assert_eq!((&pair.acting[..], &pair.preferred[..]), ("ss1_backup", "ss1"));
    assert!(pair.epoch > 1000);
    assert!(world.state().counters().unwrap().last_inode > 1 << 32);
    let absent = world.state().server("ss1").unwrap().unwrap();
    assert!(absent.failed && !absent.fresh);
    let events = world.state().events_after(0, 100).unwrap();
    assert!(events.iter().any(|event| event.kind == "not-compared" && event.server == "ss1"));
    // It comes with the token that only it knows, and what it owes; an empty disk under its name does not do.
    assert!(world.run(Op::Register(world.register("ss1", b"", b"new"))).is_err());
    world.ok(Op::Register(world.register("ss1", b"its own", b"new")));
}

#[test]
fn a_user_has_no_key_after_a_rebuild_until_one_is_made() {
    let mut world = begun(&["ss1", "ss1_backup"]);
    let user = User { name: "ann".into(), ..User::default() };
    let row = Row { seq: 30, subject: Some(Subject::User(user)) };
    take(&mut world, "ss1", vec![pair_row(), folder(1, 0, "", 1), row]);
    slices(&mut world, Step::Settle);
    slices(&mut world, Step::Finish);
    let ann = world.state().user("ann").unwrap().unwrap();
    assert!(ann.keys.is_empty() && ann.public.is_some());
}

#[test]
fn what_comes_out_of_turn_in_a_rebuild_is_refused() {
    let mut world = lived();
    assert_eq!(world.run(command(Step::Settle)).unwrap_err().code, Code::Changed);
    let again = Rebuild { step: Step::Begin as i32, ..Rebuild::default() };
    assert_eq!(
        world.run(Op::Rebuild(again)).unwrap_err().code,
        Code::Exists,
        "a cluster is not rebuilt over"
    );
    let mut world = begun(&["ss1", "ss1_backup"]);
    assert_eq!(world.run(command(Step::Finish)).unwrap_err().code, Code::Changed);
    let early = TakeIn { writes: vec![write(9, "a", 0, 1)], ..TakeIn::default() };
    assert_eq!(world.run(Op::TakeIn(early)).unwrap_err().code, Code::Changed);
}

#[test]
fn a_damaged_member_whose_numbers_leave_no_room_is_named_and_not_taken_in() {
    let mut world = begun(&["ss1", "ss1_backup"]);
    let mut late = file(20, 1, "late", 5);
    if let Some(Subject::Record(record)) = &mut late.subject {
        record.changed_ms = u64::MAX;
    }
    for row in [file(20, 1, "a", u64::MAX), file(u64::MAX, 1, "b", 5), late] {
        let take_in = TakeIn { server: "ss1".into(), rows: vec![row], ..TakeIn::default() };
        let error = world.run(Op::TakeIn(take_in)).unwrap_err();
        assert!(error.code == Code::Damaged && error.message.contains("ss1"), "{error}");
    }
    take(&mut world, "ss1_backup", vec![pair_row(), folder(1, 0, "", 1), file(20, 1, "a", 5)]);
    slices(&mut world, Step::Settle);
    slices(&mut world, Step::Finish);
    assert_eq!(world.state().inode(20).unwrap().unwrap().name, "a");
}

#[test]
fn a_root_that_a_damaged_member_has_put_elsewhere_is_the_root() {
    for parent in [1, 20] {
        let mut world = begun(&["ss1", "ss1_backup"]);
        take(&mut world, "ss1", vec![pair_row(), folder(1, parent, "name", 9), folder(20, 1, "a", 5)]);
        take(&mut world, "ss1", vec![file(21, 20, "b", 6)]);
        slices(&mut world, Step::Settle);
        slices(&mut world, Step::Finish);
        let record = world.state().inode(21).unwrap().unwrap();
        assert_eq!(world.state().path_of(&record).unwrap(), "/a/b");
    }
}
