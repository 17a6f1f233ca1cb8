//! Files and folders by name: making, moving, removing, listing.

use super::*;
use types::command::SetDurability;
use types::message::store::Durability;

#[test]
fn a_capability_decided_before_a_folder_moved_is_stale_r14() {
    let mut world = World::new();
    let make = world.make("/d", Kind::Folder, false);
    let folder = world.ok(make).record.unwrap();
    let mut write = world.write("a", 1);
    write.folder = folder.id;
    write.stamp = folder.stamp;
    let rename = world.rename("/d", "/e", false);
    world.ok(rename);
    assert_eq!(world.refused(Op::WriteComplete(write.clone())), Code::StaleCapability);
    let found = locate(&world, "/e/a");
    write.stamp = found.stamp;
    world.ok(Op::WriteComplete(write));
}

#[test]
fn a_folder_keeps_its_mode_and_time_and_takes_on_others_while_its_parents_stay_plain() {
    let mut world = World::new();
    let with = |world: &mut World, mode: u32, mtime_ms: i64| {
        let Op::Make(make) = world.make("/d/e", Kind::Folder, true) else { unreachable!() };
        world.ok(Op::Make(Make { mode, mtime_ms, ..make }))
    };
    with(&mut world, 0o040_000, 5_000);
    let kept = |world: &World, path: &str| {
        let record = locate(world, path).record.unwrap();
        (record.mode, record.mtime_ms)
    };
    assert_eq!(kept(&world, "/d"), (0, 0));
    assert_eq!(kept(&world, "/d/e"), (0o040_000, 5_000));
    assert!(with(&mut world, 0, 0).rows.is_empty() && with(&mut world, 0o040_000, 5_000).rows.is_empty());
    assert_eq!(with(&mut world, 0o040_755, 0).rows.len(), 1);
    assert_eq!(kept(&world, "/d/e"), (0o040_755, 5_000));
}

#[test]
fn moving_a_folder_is_one_row_whatever_it_holds_r25() {
    let mut world = World::new();
    let make = world.make("/d/e", Kind::Folder, true);
    world.ok(make);
    for name in ["/d/e/1", "/d/e/2"] {
        let make = world.make(name, Kind::File, false);
        world.ok(make);
    }
    let rename = world.rename("/d", "/f", false);
    assert_eq!(world.ok(rename).rows.len(), 1);
    assert_eq!(locate(&world, "/f/e/2").record.unwrap().name, "2");
    let into_itself = world.rename("/f", "/f/e", false);
    assert_eq!(world.refused(into_itself), Code::BadPath);
}

#[test]
fn removing_a_folder_needs_to_be_meant_and_hides_all_it_holds() {
    let mut world = World::new();
    let make = world.make("/d", Kind::Folder, false);
    let folder = world.ok(make).record.unwrap();
    let make = world.make("/d/1", Kind::File, false);
    world.ok(make);
    let careless = world.remove("/d", false, false);
    assert_eq!(world.refused(careless), Code::IsAFolder);
    let meant = world.remove("/d", true, false);
    world.ok(meant);
    let request =
        LocateRequest { path: "/d/1".into(), rights: 1, may_be_missing: false, ..LocateRequest::default() };
    assert_eq!(query::locate(&world.store, "admin", &request).unwrap_err().code, Code::NotFound);
    let mut write = world.write("1", 1);
    write.folder = folder.id;
    assert_eq!(
        world.refused(Op::WriteComplete(write)),
        Code::StaleCapability,
        "nothing is written into the trash"
    );
}

#[test]
fn an_upload_in_progress_guards_its_file_unless_forced() {
    let mut world = World::new();
    world.commit("a", 1);
    let expires_ms = world.time_ms + 1000;
    let asker = world.asker(4);
    let session = vec![9; 16];
    let open = OpenUpload { asker, session, folder: 1, name: "a".into(), pair: 1, expires_ms };
    world.ok(Op::OpenUpload(open));
    let remove = world.remove("/a", false, false);
    assert_eq!(world.refused(remove), Code::Locked);
    world.time_ms += 2000;
    let remove = world.remove("/a", false, false);
    world.ok(remove);
}

#[test]
fn the_same_name_cannot_be_a_file_and_a_folder() {
    let mut world = World::new();
    let make = world.make("/n", Kind::Folder, false);
    world.ok(make);
    let file = world.make("/n", Kind::File, false);
    assert_eq!(world.refused(file), Code::Exists);
    let write = world.write("n", 1);
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::IsAFolder);
    world.commit("f", 1);
    let below = world.make("/f/x", Kind::File, false);
    assert_eq!(world.refused(below), Code::NotAFolder);
}

#[test]
fn a_move_replaces_a_file_only_when_forced_and_keeps_it_in_the_trash() {
    let mut world = World::new();
    world.commit("a", 1);
    let (_, b) = world.commit("b", 2);
    let polite = world.rename("/a", "/b", false);
    assert_eq!(world.refused(polite), Code::Exists);
    let forced = world.rename("/a", "/b", true);
    world.ok(forced);
    assert!(world.file("a").is_none());
    let old = world.state().inode(b.record.unwrap().id).unwrap().unwrap();
    assert!(old.trashed.is_some());
    let onto_itself = world.rename("/b", "/b", true);
    assert_eq!(world.refused(onto_itself), Code::Usage);
}

#[test]
fn a_listing_is_in_order_and_goes_on_where_it_stopped() {
    let mut world = World::new();
    for name in ["/b", "/a-1", "/c"] {
        let make = world.make(name, Kind::File, false);
        world.ok(make);
    }
    let make = world.make("/a", Kind::Folder, false);
    world.ok(make);
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let request = ListRequest { path: "/".into(), after, limit: 2, ..ListRequest::default() };
        let page = query::list(&world.store, "admin", &request).unwrap();
        names.extend(page.entries.iter().map(|entry| entry.name.clone()));
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    assert_eq!(names, ["a-1", "a", "b", "c"]);
}

#[test]
fn a_listing_of_links_with_long_targets_comes_in_pages_that_fit_a_frame() {
    let mut world = World::new();
    let target = "t".repeat(4000);
    for n in 0..300 {
        let asker = world.asker(1);
        let (path, target, kind) = (format!("/l{n:03}"), target.clone(), Kind::Symlink as i32);
        world.ok(Op::Make(Make { asker, path, kind, parents: false, pair: 1, target, ..Make::default() }));
    }
    let (mut names, mut after, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListRequest { path: "/".into(), after, ..ListRequest::default() };
        let page = query::list(&world.store, "admin", &request).unwrap();
        assert!(prost::Message::encoded_len(&page) <= types::limits::FRAME_HEAD_MAX);
        names.extend(page.entries.into_iter().map(|entry| entry.name));
        pages += 1;
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    assert_eq!(names, (0..300).map(|n| format!("l{n:03}")).collect::<Vec<_>>());
    assert!(pages > 1);
}

#[test]
fn a_session_whose_file_was_moved_before_and_after_the_question_is_still_found_r10() {
    let mut world = World::new();
    world.commit("other", 1);
    let cursor = world.state().feed_end(1).unwrap();
    let (write, answer) = world.commit("a", 2);
    let (folder, name) = (1, "a".to_owned());
    // Its result is forgotten: it is not found by its key, and not by its name.
    let asked = Prepared { session: write.session.clone(), folder, name, file: 0, asker: None };
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let blind = query::resolutions(&world.store, 1, u64::MAX, std::slice::from_ref(&asked)).unwrap();
    assert!(!blind[0].committed, "without the cursor it would slip past");
    let found = query::resolutions(&world.store, 1, cursor, &[asked]).unwrap();
    assert_eq!((found[0].committed, found[0].file), (true, answer.record.unwrap().id));
}

#[test]
fn a_prepared_session_is_found_by_its_key_though_its_file_has_moved_r10() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let prepared = Prepared {
        session: write.session.clone(),
        folder: 1,
        name: "a".into(),
        file: 0,
        asker: write.asker.clone(),
    };
    let found =
        query::resolutions(&world.store, 1, u64::MAX, std::slice::from_ref(&prepared)).unwrap().remove(0);
    assert_eq!((found.committed, found.file), (true, answer.record.unwrap().id));
    let never = Prepared { session: vec![8; 16], asker: world.asker(1), ..prepared };
    assert!(!query::resolutions(&world.store, 1, 0, &[never]).unwrap()[0].committed);
}

#[test]
fn a_prepared_session_whose_file_was_removed_is_not_waited_for_r10() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let remove = world.remove("/a", false, true);
    world.ok(remove);
    let asker = write.asker.clone();
    let prepared = Prepared { session: write.session, folder: 1, name: "a".into(), file: 0, asker };
    let found = query::resolutions(&world.store, 1, u64::MAX, &[prepared]).unwrap().remove(0);
    assert!(!found.committed, "no row will ever name it");
    assert_eq!(found.file, answer.record.unwrap().id, "and it was this one's");
}

#[test]
fn the_trash_is_purged_after_its_time_in_bounded_slices_r25() {
    const DAY: u64 = 24 * 3600 * 1000;
    let mut world = World::new();
    for path in ["/d", "/d/e", "/d/e/f", "/keep"] {
        let make = world.make(path, Kind::Folder, false);
        world.ok(make);
    }
    for n in 0..30 {
        let make = world.make(&format!("/d/e/f/{n}"), Kind::File, false);
        world.ok(make);
    }
    let (_, written) = world.commit("a", 7);
    let inode = written.record.unwrap().id;
    let remove = world.remove("/d", true, false);
    world.ok(remove);
    let remove = world.remove("/a", false, false);
    world.ok(remove);
    assert!(purge_all(&mut world, 64, 0).is_empty(), "it is not time yet");
    world.time_ms += DAY;
    let (_, late) = world.commit("b", 8);
    let remove = world.remove("/b", false, false);
    world.ok(remove);
    let slices = purge_all(&mut world, 10, 0);
    assert_eq!(slices.iter().sum::<usize>(), 34, "30 files, 3 folders, 1 file: {slices:?}");
    assert!(slices.iter().all(|rows| *rows <= 10), "{slices:?}");
    let gone = world.state().inode(inode).unwrap().unwrap();
    assert!(gone.is_tombstone() && gone.versions.is_empty() && gone.seq > 0);
    assert_eq!(world.state().trash(None, 10).unwrap().len(), 1, "what came later stays");
    assert!(world.file("keep").is_some());
    assert_eq!((world.pair().files, world.pair().bytes), (1, 0));
    // Where room is short, nothing waits for its time.
    assert!(purge_all(&mut world, 64, 2).is_empty(), "another pair's room is not made here");
    assert_eq!(purge_all(&mut world, 64, 1), [1]);
    assert!(world.state().inode(late.record.unwrap().id).unwrap().unwrap().is_tombstone());
    assert_eq!(world.pair().files, 0);
}

#[test]
fn the_nearest_folder_says_how_durable_a_write_is_r19() {
    let mut world = World::new();
    let make = world.make("/d/e", Kind::Folder, true);
    world.ok(make);
    let said = |world: &World, path: &str| locate(world, path).durability.0;
    let mut number = 100u8;
    let mut set = |world: &mut World, path: &str, durability: Durability| {
        number += 1;
        let asker = world.asker(number);
        world.ok(Op::SetDurability(SetDurability { asker, path: path.into(), durability: durability.into() }))
    };
    assert_eq!(said(&world, "/d/e/new"), 0);
    let rows = set(&mut world, "/", Durability::SyncIfUp).rows;
    assert_eq!((rows.len(), rows[0].feed), (1, 0), "every server hears of it");
    set(&mut world, "/d", Durability::Sync);
    assert_eq!(said(&world, "/d/e/new"), Durability::Sync as i32);
    assert_eq!(said(&world, "/d"), Durability::Sync as i32);
    assert_eq!(said(&world, "/other"), Durability::SyncIfUp as i32);
    set(&mut world, "/d/e", Durability::Async);
    assert_eq!(said(&world, "/d/e/new"), Durability::Async as i32);
    assert_eq!(said(&world, "/d/new"), Durability::Sync as i32);
    set(&mut world, "/d/e", Durability::Unset);
    assert_eq!(said(&world, "/d/e/new"), Durability::Sync as i32);
    assert!(set(&mut world, "/d/e", Durability::Unset).rows.is_empty(), "nothing changed");
    let make = world.make("/d/file", Kind::File, false);
    world.ok(make);
    let asker = world.asker(99);
    let on_a_file = SetDurability { asker, path: "/d/file".into(), durability: Durability::Sync.into() };
    assert_eq!(world.refused(Op::SetDurability(on_a_file)), Code::NotAFolder);
}
