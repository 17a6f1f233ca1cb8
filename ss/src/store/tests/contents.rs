//! Uploads, reads, and the life of a content.

use bytes::Bytes;
use types::content::{block_crcs, crc64};
use types::limits::{BLOCK, CHUNK, INLINE_MAX, PIECE};

use super::super::*;
use super::support::*;

#[test]
fn contents_of_every_size_come_back_as_they_were_sent() {
    let place = Place::default();
    let store = place.open().unwrap();
    let sizes =
        [0, 1, INLINE_MAX, INLINE_MAX + 1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 99];
    run(async {
        for (n, size) in sizes.into_iter().enumerate() {
            let data = bytes(size, n as u64);
            let content = upload(&store, &data, n % 2 == 0).unwrap();
            let mut digester = types::content::Digester::default();
            digester.update(&data);
            assert_eq!(content.manifest().digest().unwrap(), digester.finish());
            assert_eq!(content.manifest().crc64, crc64(&data));
            let (target, session) = (target(), session(n as u8));
            let content = Some(content);
            let prepare = Prepare {
                session,
                target,
                asker: None,
                content,
                for_partner: true,
                lazy: false,
                lone: false,
                seen: 0,
            };
            store.prepare(prepare).await.unwrap();
            assert_eq!(held_bytes(&store, session), data);
        }
    });
    store.close();
    // From the disk, with nothing in memory.
    let store = place.restart().open().unwrap();
    for (n, size) in sizes.into_iter().enumerate() {
        assert_eq!(held_bytes(&store, session(n as u8)), bytes(size, n as u64), "{size} bytes");
        assert_eq!(store.verify(session(n as u8)).unwrap(), Ok(()));
        assert!(store.lookup(session(n as u8)).unwrap().unwrap().origin.for_partner);
    }
    store.close();
}

#[test]
fn rows_and_the_small_contents_they_name_are_durable_together() {
    let place = Place::default();
    let store = place.open().unwrap();
    let small = |n: u8| (session(n), content(&store, &bytes(100 * usize::from(n), n.into())).unwrap());
    let applied = run(store.apply_brought(
        1,
        vec![row(20, 5, &[session(1)]), row(21, 6, &[session(2)])],
        u64::MAX,
        vec![small(1), small(2)],
    ));
    assert!(applied.unwrap().iter().all(|applied| applied.newer));
    // Without waiting for anything else: what was synced is all there is.
    drop(store);
    let store = place.restart().open().unwrap();
    for n in [1, 2] {
        assert_eq!(held_bytes(&store, session(n)), bytes(100 * usize::from(n), n.into()));
        assert_eq!(store.lookup(session(n)).unwrap().unwrap().state, State::Kept);
        assert_eq!(store.record(19 + u64::from(n)).unwrap().unwrap().seq, 4 + u64::from(n));
    }
    store.close();
}

#[test]
fn any_range_can_be_read() {
    let store = Place::default().open().unwrap();
    let data = bytes(CHUNK + 3 * BLOCK + 17, 5);
    run(prepare(&store, session(1), &data)).unwrap();
    let manifest = store.lookup(session(1)).unwrap().unwrap().manifest;
    let ends = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, CHUNK - 1, CHUNK, CHUNK + 1, data.len() - 1, data.len()];
    for from in ends {
        for to in ends.into_iter().filter(|to| *to >= from) {
            let (part, crc) = store.read(&manifest, from as u64, (to - from) as u32).unwrap();
            assert_eq!(part, data.slice(from..to));
            assert_eq!(crc, crc64(&part));
            // Nothing where it crosses chunks, or on a disk that cannot tell; else the same.
            let now = store.read_now(&manifest, from as u64, (to - from) as u32);
            assert!(now.is_none_or(|now| now == (part, crc)));
        }
    }
    assert_eq!(store.read(&manifest, 1 << 50, 10).unwrap().0, Bytes::new());
    assert_eq!(store.read(&manifest, data.len() as u64 - 1, 10).unwrap().0, data.slice(data.len() - 1..));
    store.close();
}

#[test]
fn an_upload_refuses_gaps_and_wrong_bytes_and_takes_a_piece_twice() {
    let store = Place::default().open().unwrap();
    let data = bytes(3 * PIECE, 1);
    let mut writer = store.writer(None);
    let (a, b) = (data.slice(..PIECE), data.slice(PIECE..2 * PIECE));
    assert_eq!(push(&mut writer, 0, &a).unwrap(), PIECE as u64);
    assert_eq!(push(&mut writer, 2 * PIECE as u64, &b).unwrap_err().code, Code::BadRange);
    let mut wrong = block_crcs(&b);
    wrong[2] ^= 1;
    assert_eq!(writer.push(PIECE as u64, &b, &wrong).unwrap_err().code, Code::BadRequest);
    assert_eq!(writer.push(PIECE as u64, &b, &wrong[..3]).unwrap_err().code, Code::BadRequest);
    assert_eq!(writer.held(), PIECE as u64);
    // Again, in part again, and wholly known.
    assert_eq!(push(&mut writer, 0, &a).unwrap(), PIECE as u64);
    let overlapping = data.slice(PIECE / 2 + 5..PIECE + PIECE / 2);
    assert_eq!(push(&mut writer, (PIECE / 2 + 5) as u64, &overlapping).unwrap(), (PIECE + PIECE / 2) as u64);
    assert_eq!(push(&mut writer, PIECE as u64, &data.slice(PIECE..)).unwrap(), 3 * PIECE as u64);
    assert_eq!(writer.read(7, 2 * PIECE as u32).unwrap(), data.slice(7..7 + 2 * PIECE));
    let content = writer.finish(data.len() as u64, Some(crc64(&data)), None).unwrap();
    let session = session(1);
    let (target, content) = (target(), Some(content));
    run(store.prepare(Prepare {
        session,
        target,
        asker: None,
        content,
        for_partner: false,
        lazy: false,
        lone: false,
        seen: 0,
    }))
    .unwrap();
    assert_eq!(held_bytes(&store, session), data);
    store.close();
}

#[test]
fn odd_pieces_make_the_same_content_as_even_ones() {
    let store = Place::default().open().unwrap();
    let data = bytes(CHUNK + 200_000, 9);
    let even = upload(&store, &data, true).unwrap();
    for step in [70_001, 65_536, 200_000] {
        // A hint that is too small, too.
        let mut writer = store.writer(Some(100_000));
        let mut at = 0;
        while at < data.len() {
            let piece = data.slice(at..data.len().min(at + step));
            assert_eq!(push(&mut writer, at as u64, &piece).unwrap(), (at + piece.len()) as u64);
            let from = at.saturating_sub(step);
            assert_eq!(
                writer.read(from as u64, 2 * step as u32).unwrap(),
                data.slice(from..at + piece.len())
            );
            at += piece.len();
        }
        let odd = writer.finish(data.len() as u64, Some(crc64(&data)), None).unwrap();
        assert_eq!(odd.manifest(), even.manifest());
        let crcs = |c: &Content| c.places.iter().map(|p| p.crcs.clone()).collect::<Vec<_>>();
        assert_eq!(crcs(&odd), crcs(&even));
    }
    store.close();
}

#[test]
fn what_is_not_as_announced_is_refused_and_its_room_is_free_again() {
    let store = Place::default().open().unwrap();
    let data = bytes(CHUNK + 5, 1);
    let before = store.used_bytes();
    let digest = upload(&store, &data, true).unwrap().manifest().sha256.clone();
    let finish = |size: u64, crc: u64, sha256: &[u8]| {
        let mut writer = store.writer(None);
        data.chunks(PIECE).enumerate().for_each(|(n, piece)| {
            push(&mut writer, (n * PIECE) as u64, &data.slice_ref(piece)).unwrap();
        });
        assert!(store.used_bytes() > before);
        writer.finish(size, Some(crc), Some(sha256)).map(|content| content.size())
    };
    let (size, crc) = (data.len() as u64, crc64(&data));
    assert_eq!(finish(size, crc, &digest).unwrap(), size);
    assert_eq!(finish(size, crc, b"").unwrap(), size);
    assert_eq!(finish(size + 1, crc, &digest).unwrap_err().code, Code::BadRequest);
    assert_eq!(finish(size, crc ^ 1, &digest).unwrap_err().code, Code::BadRequest);
    assert_eq!(finish(size, crc, &[7; 32]).unwrap_err().code, Code::BadRequest);
    assert_eq!(store.used_bytes(), before);
    assert_eq!(store.small(bytes(10, 1), 5).err().unwrap().code, Code::BadRequest);
    assert!(store.small(bytes(INLINE_MAX + 1, 1), crc64(&bytes(INLINE_MAX + 1, 1))).is_err());
    store.close();
}

#[test]
fn equal_chunks_are_stored_once_until_the_last_content_goes() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(async {
        let data = bytes(2 * CHUNK, 3);
        let twice = [&data[..CHUNK], &data[..CHUNK]].concat().into();
        prepare(&store, session(1), &data).await.unwrap();
        let used = store.used_bytes();
        prepare(&store, session(2), &data).await.unwrap();
        prepare(&store, session(3), &twice).await.unwrap();
        settle(&store).await;
        assert_eq!(store.used_bytes(), used);
        // Room goes back once the dropping is durable: with the next sync.
        store.drop_session(session(1)).await.unwrap();
        store.drop_session(session(2)).await.unwrap();
        prepare(&store, session(9), &bytes(10, 1)).await.unwrap();
        settle(&store).await;
        assert_eq!(store.used_bytes(), used - CHUNK as u64);
        assert_eq!(held_bytes(&store, session(3)), twice);
        assert_eq!(store.lookup(session(1)).unwrap(), None);
        store.drop_session(session(3)).await.unwrap();
        prepare(&store, session(8), &bytes(10, 1)).await.unwrap();
        settle(&store).await;
        assert_eq!(store.used_bytes(), used - 2 * CHUNK as u64);
        // And is used again.
        prepare(&store, session(4), &bytes(2 * CHUNK, 77)).await.unwrap();
        settle(&store).await;
        assert_eq!(store.used_bytes(), used);
    });
    assert_survives_restarts(&place, store);
}

#[test]
fn a_prepared_content_ends_only_as_the_log_says() {
    let place = Place::default();
    let store = place.open().unwrap();
    let (a, b) = (bytes(4000, 1), bytes(100_000, 2));
    run(async {
        prepare(&store, session(1), &a).await.unwrap();
        prepare(&store, session(2), &b).await.unwrap();
        let prepared = store.prepared().unwrap();
        assert_eq!(prepared.iter().map(|h| h.session).collect::<Vec<_>>(), [session(1), session(2)]);
        assert_eq!(prepared[0].origin.asker.as_ref().unwrap().user, "ann");
        assert_eq!(prepared[0].origin.target, Some(target()));
        // Not in the log: open again, and committed by its client again.
        store.unprepare(session(2)).await.unwrap();
        assert_eq!(state(&store, session(2)), Some(State::Open));
        assert_eq!(store.open_again().unwrap().len(), 1);
        prepare_again(&store, session(2)).await.unwrap();
        assert_eq!(state(&store, session(2)), Some(State::Prepared));
        // The same again is no error, another content is.
        prepare(&store, session(2), &b).await.unwrap();
        let other = prepare(&store, session(2), &bytes(100_000, 3)).await.unwrap_err();
        assert_eq!(other.code, Code::KeyReused);
        assert_eq!(prepare_again(&store, session(7)).await.unwrap_err().code, Code::NoSuchSession);
        // Open again, it may be another.
        store.unprepare(session(2)).await.unwrap();
        prepare(&store, session(2), &bytes(90_000, 3)).await.unwrap();
        assert_eq!(held_bytes(&store, session(2)), bytes(90_000, 3));
        // Kept by its row.
        store.apply(1, vec![row(20, 5, &[session(1)])]).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Kept));
        store.unprepare(session(1)).await.unwrap();
        prepare(&store, session(1), &a).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Kept));
        assert_eq!(store.drop_session(session(1)).await.unwrap_err().code, Code::Locked);
        assert_eq!(store.prepared().unwrap().len(), 1);
        // No version names it any more.
        store.apply(1, vec![row(20, 6, &[])]).await.unwrap();
        assert_eq!(state(&store, session(1)), Some(State::Loose));
        store.drop_session(session(1)).await.unwrap();
        assert_eq!(state(&store, session(1)), None);
    });
    let before = dump(&store);
    store.close();
    let store = place.restart().without_index().open().unwrap();
    assert_eq!(dump(&store), before);
    assert_eq!(store.prepared().unwrap().len(), 1);
    store.close();
}

#[test]
fn a_flipped_bit_is_damage_never_other_bytes_and_a_copy_repairs_it() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = bytes(10 * BLOCK, 4);
    run(prepare(&store, session(1), &data)).unwrap();
    let manifest = store.lookup(session(1)).unwrap().unwrap().manifest;
    assert!(place.disk.flip("extents/00000001", 4096 + 3 * BLOCK as u64 + 100, 8));
    let error = store.read(&manifest, 3 * BLOCK as u64 + 5000, 10).unwrap_err();
    assert_eq!(error.code, Code::Damaged);
    assert!(error.message.contains("extents/00000001"), "{error}");
    assert_eq!(store.read(&manifest, 4 * BLOCK as u64, PIECE as u32).unwrap().0.len(), PIECE);
    assert!(store.verify(session(1)).unwrap().is_err());
    run(async {
        let copy = upload(&store, &data, true).unwrap();
        store.keep_fetched(session(1), copy).await.unwrap();
    });
    assert_eq!(store.verify(session(1)).unwrap(), Ok(()));
    assert_eq!(held_bytes(&store, session(1)), data);
    store.close();
}

#[test]
fn a_flipped_bit_in_a_small_content_is_noticed_on_the_disk() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(prepare(&store, session(1), &bytes(5000, 1))).unwrap();
    let segment = place.disk.bytes("journal/0000000001.seg").unwrap();
    let at = segment.windows(100).position(|w| w == &bytes(5000, 1)[1000..1100]).unwrap();
    assert!(place.disk.flip("journal/0000000001.seg", at as u64, 1));
    assert!(store.verify(session(1)).unwrap().is_err());
    store.close();
}

#[test]
fn a_full_disk_refuses_contents_and_goes_on_serving() {
    let place = Place::default();
    let store = place.open().unwrap();
    let data = bytes(200_000, 1);
    run(async {
        prepare(&store, session(1), &data).await.unwrap();
        place.disk.set_full(1000);
        assert_eq!(prepare(&store, session(2), &bytes(CHUNK, 2)).await.unwrap_err().code, Code::DiskFull);
        assert_eq!(store.trouble().as_deref(), Some("the disk is full"));
        // The journal's segment has room for a while, then it is full too.
        let mut refused = None;
        for n in 0..60 {
            match prepare(&store, session(100 + n), &bytes(10_000, n.into())).await {
                Ok(_) => assert!(refused.is_none()),
                Err(error) => refused = Some(error),
            }
        }
        assert_eq!(refused.unwrap().code, Code::DiskFull);
        assert_eq!(held_bytes(&store, session(1)), data);
        assert_eq!(held_bytes(&store, session(100)), bytes(10_000, 0));
        place.disk.set_full(1 << 30);
        prepare(&store, session(2), &bytes(CHUNK, 2)).await.unwrap();
        assert_eq!(store.trouble(), None);
    });
    let before = dump(&store);
    store.close();
    let store = place.crash(1).without_index().open().unwrap();
    assert_eq!(dump(&store), before);
    store.close();
}

#[test]
fn room_kept_free_is_for_rows_not_for_contents() {
    let place = Place::default();
    place.disk.set_full(100 << 20);
    let store = place.open_with(StoreConfig { keep_free_bytes: 64 << 20, ..config() }).unwrap();
    run(async {
        prepare(&store, session(1), &bytes(100, 1)).await.unwrap();
        place.disk.set_full(60 << 20);
        assert_eq!(prepare(&store, session(2), &bytes(100, 1)).await.unwrap_err().code, Code::DiskFull);
        let large = prepare(&store, session(2), &bytes(100_000, 1)).await;
        assert_eq!(large.unwrap_err().code, Code::DiskFull);
        store.apply(1, vec![row(20, 5, &[session(1)])]).await.unwrap();
        store.advance(0, 1, 5).await.unwrap();
        assert_eq!(store.cursors().pair, 5);
    });
    store.close();
}

#[test]
fn a_failed_sync_ends_the_service_and_reads_go_on() {
    for large in [false, true] {
        let place = Place::default();
        let store = place.open().unwrap();
        let (a, b) = (bytes(4000, 1), bytes(if large { 100_000 } else { 4000 }, 2));
        run(async {
            prepare(&store, session(1), &a).await.unwrap();
            place.disk.fail_next_sync();
            let error = prepare(&store, session(2), &b).await.unwrap_err();
            assert_eq!(error.code, Code::Io);
            assert!(store.trouble().is_some());
            assert_eq!(prepare(&store, session(3), &a).await.unwrap_err().code, Code::Io);
            assert_eq!(store.advance(0, 1, 5).await.unwrap_err().code, Code::Io);
            assert_eq!(held_bytes(&store, session(1)), a);
            assert_eq!(store.lookup(session(2)).unwrap(), None);
        });
        store.close();
        let store = place.crash(7).open().unwrap();
        assert_eq!(held_bytes(&store, session(1)), a);
        store.close();
    }
}

#[test]
fn many_prepares_share_syncs() {
    let place = Place::default();
    let store = place.open().unwrap();
    run(prepare(&store, session(255), &bytes(1, 1))).unwrap();
    let before = place.disk.count(log::sim::Count::Syncs);
    run(async {
        let all: Vec<_> = (0..200u8)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { prepare(&store, session(n), &bytes(500, n.into())).await.unwrap() })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
    });
    assert!(place.disk.count(log::sim::Count::Syncs) - before <= 200);
    for n in 0..200 {
        assert_eq!(held_bytes(&store, session(n)), bytes(500, n.into()));
    }
    store.close();
}

#[test]
fn a_manifest_too_long_for_one_record_of_places_survives() {
    let place = Place::default();
    let store = place.open_with(StoreConfig { segment_bytes: 2 << 20, ..config() }).unwrap();
    let mut content = upload(&store, &bytes(CHUNK, 1), true).unwrap();
    // As many places as a file of 10 GiB has; all but the first are known chunks.
    let place_of = content.places[0].clone();
    content.places.extend(std::iter::repeat_n(change::ChunkPlace { file: 0, ..place_of }, 2500));
    let (target, content) = (target(), Some(content));
    let session = session(1);
    let prepare = Prepare {
        session,
        target,
        asker: None,
        content,
        for_partner: false,
        lazy: false,
        lone: false,
        seen: 0,
    };
    run(store.prepare(prepare)).unwrap();
    assert_eq!(held_bytes(&store, session), bytes(CHUNK, 1));
    store.close();
    let store = place
        .restart()
        .without_index()
        .open_with(StoreConfig { segment_bytes: 2 << 20, ..config() })
        .unwrap();
    assert_eq!(held_bytes(&store, session), bytes(CHUNK, 1));
    store.close();
}

#[test]
fn two_stores_fed_alike_hold_the_same() {
    let places = [Place::default(), Place::default()];
    let dumps = places.map(|place| {
        let store = place.open().unwrap();
        run(async {
            for n in 0..5 {
                prepare(&store, session(n), &bytes(60_000 * usize::from(n), n.into())).await.unwrap();
                store.apply(1, vec![row(20 + u64::from(n), u64::from(n) + 1, &[session(n)])]).await.unwrap();
            }
            store.advance(0, 1, 5).await.unwrap();
        });
        store.close();
        let before = place.disk.image();
        let read_only = place.open_read_only().unwrap();
        let dump = dump(&read_only);
        assert_eq!(run(prepare(&read_only, session(9), &bytes(1, 1))).unwrap_err().code, Code::Unsupported);
        let spares = |image: Vec<(String, Vec<u8>)>| {
            image.into_iter().filter(|(name, _)| !name.contains("spare")).collect::<Vec<_>>()
        };
        assert!(spares(place.disk.image()) == spares(before), "looking at a store changed it");
        dump
    });
    assert_eq!(dumps[0], dumps[1]);
    assert_eq!(dumps[0].contents.len(), 5);
}

#[test]
fn a_file_on_a_real_disk_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let disk = Arc::new(log::RealDisk::new(folder.path().to_owned()).unwrap());
        Store::open(disk, StoreConfig { keep_free_bytes: 0, ..StoreConfig::default() }).unwrap()
    };
    let store = open();
    run(async {
        prepare(&store, session(1), &bytes(1000, 1)).await.unwrap();
        prepare(&store, session(2), &bytes(CHUNK + 1, 2)).await.unwrap();
        store.apply(1, vec![row(20, 5, &[session(1), session(2)])]).await.unwrap();
    });
    let before = dump(&store);
    assert!(store.free_bytes() > 0 && store.used_bytes() > 0 && store.journal_end() > 0);
    assert_eq!(store.oldest_io_ms(), 0);
    store.close();
    for step in 0..4 {
        let index = folder.path().join("index.redb");
        match step {
            0 => {}
            1 => std::fs::remove_file(index).unwrap(),
            2 => std::fs::File::options().write(true).open(index).unwrap().set_len(100).unwrap(),
            _ => std::fs::write(index, b"no index at all").unwrap(),
        }
        let store = open();
        assert_eq!(dump(&store), before, "step {step}");
        store.close();
    }
}

/// Set in the process that runs [`a_store_with_many_extent_files_works_under_a_tiny_limit_on_open_files`] again.
const UNDER_LIMIT: &str = "PAIRFS_TEST_FEW_FILES";

#[test]
fn a_store_with_many_extent_files_works_under_a_tiny_limit_on_open_files() {
    if std::env::var_os(UNDER_LIMIT).is_none() {
        // The limit is one of a process: a child has it.
        let name = std::thread::current().name().unwrap().to_owned();
        let ended = std::process::Command::new("sh")
            .args(["-c", "ulimit -Sn 48 && ulimit -Hn 48 && exec \"$0\" --exact \"$1\" --test-threads 1"])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(UNDER_LIMIT, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = || StoreConfig {
        open_files: 16,
        // One content fills a file, and a few of them a segment.
        extent_file_bytes: 128 << 10,
        segment_bytes: 32 << 10,
        ..config()
    };
    let open = || {
        let disk = Arc::new(log::RealDisk::new(folder.path().to_owned()).unwrap());
        Store::open(disk, config()).unwrap()
    };
    let data = |n: u8| bytes(BLOCK + 20_000 + usize::from(n), n.into());
    let inline = |n: u8| bytes(9000, n.into());
    let check = |store: &Store| {
        for n in 0..100 {
            assert_eq!(held_bytes(store, session(n)), data(n));
            assert_eq!(held_bytes(store, session(100 + n)), inline(n));
            assert_eq!(store.verify(session(n)).unwrap(), Ok(()));
        }
    };
    let store = open();
    run(async {
        for n in 0..100 {
            prepare(&store, session(n), &data(n)).await.unwrap();
            prepare(&store, session(100 + n), &inline(n)).await.unwrap();
        }
    });
    assert!(std::fs::read_dir(folder.path().join("extents")).unwrap().count() >= 100);
    assert!(std::fs::read_dir(folder.path().join("journal")).unwrap().count() >= 25);
    check(&store);
    store.close();
    let store = open();
    check(&store);
    store.close();
}

#[test]
fn r26_what_is_prepared_is_offered_page_by_page_in_the_order_in_which_it_was_prepared() {
    let store = Place::default().open().unwrap();
    // The index knows them by session: not in this order.
    let order = [7, 2, 9, 4, 1, 8];
    run(async {
        for n in order {
            prepare(&store, session(n), &bytes(100, n.into())).await.unwrap();
        }
        store.unprepare(session(4)).await.unwrap();
    });
    let (mut after, mut offered) = (JournalPosition(0), Vec::new());
    loop {
        let (held, next) = store.prepared_after(after, 2).unwrap();
        offered.extend(held.iter().map(|held| held.session));
        let Some(next) = next else { break };
        after = next;
    }
    assert_eq!(offered, [7, 2, 9, 1, 8].map(session));
    store.close();
}
