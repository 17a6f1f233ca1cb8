//! Writes, versions, request keys, rows.

use super::*;

#[test]
fn a_repeated_commit_is_answered_and_not_executed_again_r13() {
    let mut world = World::new();
    let (write, first) = world.commit("a", 1);
    let again = world.ok(Op::WriteComplete(write.clone()));
    assert!(again.repeated);
    assert_eq!(again.version, first.version);
    assert_eq!(world.file("a").unwrap().versions.len(), 1);
    let mut other = write;
    other.asker.as_mut().unwrap().ask = vec![99; 32];
    assert_eq!(world.refused(Op::WriteComplete(other)), Code::KeyReused);
}

#[test]
fn a_file_stands_in_its_feed_once_at_its_latest_number() {
    let mut world = World::new();
    for content in 0..5 {
        world.commit("a", content);
    }
    let rows = world.rows(1);
    assert_eq!(rows.len(), 1);
    let Some(Subject::Record(record)) = &rows[0].subject else { panic!("a record") };
    assert_eq!((record.seq, record.versions.len()), (rows[0].seq, 5));
    assert_eq!(world.state().feed_count(1, 0).unwrap(), (1, 1));
    assert_eq!(world.state().feed_end(1).unwrap(), rows[0].seq);
}

#[test]
fn changes_of_one_batch_never_give_a_file_an_older_number() {
    let mut world = World::new();
    let deep = world.make("/x/y/z", Kind::Folder, true);
    let rename = world.rename("/x", "/w", false);
    let answers = world.run_batch(vec![deep, rename]);
    assert!(answers.iter().all(|answer| answer.code == 0), "{answers:?}");
    let numbers: Vec<u64> = answers.iter().flat_map(|answer| answer.rows.iter().map(|row| row.seq)).collect();
    assert_eq!(numbers.len(), 4);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(world.file("w").unwrap().seq, numbers[3]);
}

#[test]
fn a_write_with_a_condition_is_refused_if_the_file_changed() {
    let mut world = World::new();
    let (_, answer) = world.commit("a", 1);
    world.commit("a", 2);
    let mut write = world.write("a", 3);
    write.if_epoch = answer.version.as_ref().unwrap().epoch;
    write.if_number = answer.version.as_ref().unwrap().number;
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::Changed);
    let mut write = world.write("a", 3);
    write.create_only = true;
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::Exists);
}

#[test]
fn a_stranger_is_denied() {
    let mut world = World::new();
    world.commit("a", 1);
    let mut write = world.write("a", 2);
    write.asker.as_mut().unwrap().user = "eve".into();
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::Denied);
    let request =
        LocateRequest { path: "/a".into(), rights: 1, may_be_missing: false, ..LocateRequest::default() };
    assert_eq!(query::locate(&world.store, "eve", &request).unwrap_err().code, Code::Denied);
    let list = ListRequest { path: "/".into(), ..ListRequest::default() };
    assert_eq!(query::list(&world.store, "eve", &list).unwrap_err().code, Code::Denied);
}

#[test]
fn log_time_never_goes_back_r13() {
    let mut world = World::new();
    let before = world.state().log_time().unwrap();
    world.time_ms = 5;
    world.commit("a", 1);
    assert_eq!(world.state().log_time().unwrap(), before);
}

#[test]
fn an_entry_of_a_later_format_stops_the_name_manager_r35() {
    let mut store = MemoryStore::default();
    let batch = Batch { format: BATCH_FORMAT + 1, ..Batch::default() };
    assert!(apply(&mut store, 1, &batch).is_err());
}

#[test]
fn files_of_a_pair_are_paged_by_id_each_once_and_removed_ones_too() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        world.commit(name, 1);
    }
    world.commit("a", 2);
    let folder = world.make("/folder", Kind::Folder, false);
    world.ok(folder);
    let asker = world.asker(9);
    world.ok(Op::Remove(Remove { asker, path: "/c".into(), now: true, ..Remove::default() }));
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let (files, next) = world.state().files_of(1, after, 2, 1 << 20).unwrap();
        assert!(files.len() <= 2);
        seen.extend(files.iter().map(|file| (file.id, file.is_tombstone())));
        if next == 0 {
            break;
        }
        assert!(next > after, "it goes on");
        after = next;
    }
    assert!(seen.is_sorted() && seen.len() == 5, "{seen:?}");
    assert_eq!(seen.iter().filter(|(_, removed)| *removed).count(), 1);
    assert_eq!(world.state().files_of(1, u64::MAX, 2, 1 << 20).unwrap(), (vec![], 0));
    assert!(world.state().files_of(2, 0, 2, 1 << 20).unwrap().0.is_empty(), "of another pair");
}
