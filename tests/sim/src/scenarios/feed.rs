//! The feed: R20 to R26.

use super::Table;
use super::stage::{A, B, LONG, Stage};
use crate::cluster::{BACKUP, NM, SS1};
use types::Error;

pub(super) const ALL: Table = &[
    ("r20_a_row_whose_bytes_are_away_is_tried_until_they_come", r20),
    ("r21_a_cursor_does_not_pass_rows_that_are_not_applied", r21),
    ("r22_a_late_row_does_not_replace_a_newer_record", r22),
    ("r23_a_removal_is_seen_before_it_is_told", r23),
    ("r24_a_removal_is_remembered_for_who_is_away", r24_away),
    ("r24_an_empty_disk_is_filled", r24_empty),
    ("r25_a_moved_folder_takes_its_files_along_on_both", r25),
    ("r26_a_name_manager_is_made_anew_from_both", r26),
    ("r26_what_was_removed_before_its_row_went_out_is_not_made_anew", r26_removed),
    ("r26_what_was_removed_at_once_is_not_made_anew_from_the_acting_member", r26_removed_at_once),
    ("r26_what_was_moved_and_removed_before_its_row_went_out_is_not_made_anew", r26_moved_and_removed),
    ("r26_what_is_offered_after_the_row_of_its_removal_is_not_made_anew", r26_offered_late),
    ("r26_what_was_removed_before_its_writer_asked_again_is_not_made_anew", r26_asked_again),
];

/// A member that missed writes is back, and the only one that has their bytes is not: their rows fail and fail.
fn r20(s: &mut Stage) {
    s.kill(BACKUP);
    s.pass(2000);
    for number in 0..3 {
        s.write(A, &format!("/own/{number}"));
    }
    s.kill(SS1);
    s.start(BACKUP);
    s.pass(30_000);
    s.start(SS1);
    s.settle();
}

/// What some rows need is away while a later one needs nothing; then the member starts again from its cursor.
fn r21(s: &mut Stage) {
    for round in 0..3 {
        s.write_sync(A, "/shared/0");
        s.settle();
        s.cut(SS1, BACKUP);
        s.write(A, "/own/0");
        s.pass(60);
        s.remove(A, "/shared/0");
        s.pass(200 + 100 * round);
        s.kill(BACKUP);
        s.mend();
        s.start(BACKUP);
        s.settle();
    }
}

/// What the row of a new file needs is held up on its way; the row that the file is gone needs nothing and overtakes it.
fn r22(s: &mut Stage) {
    for round in 0..4 {
        let path = format!("/shared/{round}");
        s.cut_one_way(SS1, BACKUP);
        s.write(A, &path);
        s.pass(60 + 10 * round);
        s.remove(A, &path);
        s.pass(100);
        s.mend();
        s.settle();
        s.kill(SS1);
        s.until_serves(BACKUP, LONG);
        check!(s, s.read(B, &path) == Some(None), "a removed file is back");
        s.start(SS1);
        s.settle();
    }
}

/// The primary has a lease and cannot hear of the removal; a client that has just looked the file up asks it.
fn r23(s: &mut Stage) {
    for round in 0..4 {
        let path = format!("/shared/{round}");
        s.write_sync(A, &path);
        s.read(A, &path);
        s.cut(NM, SS1);
        let removed = s.begin_remove(B, &path);
        let mut after = 0;
        for _ in 0..200 {
            let read = s.begin_read(A, &path);
            s.answer(&read, 12);
            s.pass(3);
            after += u32::from(removed.is_done());
            if after > 20 {
                break;
            }
        }
        s.mend();
        s.answer(&removed, LONG);
        s.settle();
    }
}

fn r24_away(s: &mut Stage) {
    for name in 0..3 {
        s.write_sync(A, &format!("/shared/{name}"));
    }
    s.settle();
    s.kill(BACKUP);
    s.pass(2000);
    s.remove(A, "/shared/0");
    s.write(A, "/shared/1");
    s.pass(5000);
    s.start(BACKUP);
    s.settle();
    s.kill(SS1);
    s.until_serves(BACKUP, LONG);
    check!(s, s.read(B, "/shared/0") == Some(None), "a removed file is back");
}

fn r24_empty(s: &mut Stage) {
    for name in 0..3 {
        s.write_sync(A, &format!("/shared/{name}"));
    }
    s.write_big(A, "/own/big");
    s.remove(A, "/shared/0");
    s.kill(BACKUP);
    s.pass(2000);
    let replaced = s.cluster.replace_disk(BACKUP);
    check!(s, replaced.is_ok(), "the disk cannot be replaced");
    s.start(BACKUP);
    s.settle();
    s.kill(SS1);
    s.until_serves(BACKUP, LONG);
    check!(
        s,
        matches!(s.read(B, "/shared/1"), Some(Some(_))),
        "what was there cannot be read from the new disk",
    );
}

fn r25(s: &mut Stage) {
    let done = s.ask(A, |client, _| async move {
        client.mkdir("/tree/inner", true, None).await?;
        client.write("/tree/inner/file", client::Content::from("here"), &Default::default()).await?;
        Ok::<_, Error>(())
    });
    check!(s, matches!(done, Some(Ok(()))), "a tree cannot be made");
    s.kill(BACKUP);
    s.pass(2000);
    let moved =
        s.ask(A, |client, _| async move { client.rename("/tree", "/moved", &Default::default()).await });
    check!(s, matches!(moved, Some(Ok(_))), "a folder cannot be moved");
    s.start(BACKUP);
    s.settle();
    s.kill(SS1);
    s.until_serves(BACKUP, LONG);
    let read = s.ask(B, |client, _| async move {
        let mut reader = client.read("/moved/inner/file", &Default::default()).await?;
        reader.to_end(100).await
    });
    check!(s, matches!(&read, Some(Ok(read)) if read[..] == *b"here"), "a file is not where its folder went");
}

fn r26(s: &mut Stage) {
    for name in 0..3 {
        s.write_sync(A, &format!("/shared/{name}"));
        s.write(B, &format!("/own/{name}"));
    }
    s.remove(A, "/shared/1");
    s.settle();
    s.rebuild = true;
}

/// The partner has prepared writes of which no row tells it, only the rows that their files are gone, or hold other
/// contents. Nobody else remembers the removals, when the name manager is made anew.
fn r26_removed(s: &mut Stage) {
    s.write_sync(A, "/shared/kept");
    s.settle();
    s.cut_one_way(NM, BACKUP);
    for name in 0..3 {
        s.write_sync(A, &format!("/shared/{name}"));
    }
    s.write_sync(A, "/shared/kept");
    s.pass(100);
    for name in 0..3 {
        s.remove(A, &format!("/shared/{name}"));
    }
    for _ in 0..12 {
        s.write(A, "/shared/kept");
    }
    s.mend();
    s.settle();
    // Tombstones are collected each second.
    s.pass(3000);
    s.rebuild = true;
}

/// The same at the acting member: a removal overtakes the row of what it removes.
fn r26_removed_at_once(s: &mut Stage) {
    for name in 0..8 {
        let path = format!("/shared/{name}");
        s.cut_one_way(NM, BACKUP);
        s.write_sync(A, &path);
        s.remove(A, &path);
        s.mend();
    }
    s.settle();
    s.pass(3000);
    s.rebuild = true;
}

/// The partner has prepared writes of which no row tells it, only the rows that files of other names are gone; of one file
/// more versions than are kept.
fn r26_moved_and_removed(s: &mut Stage) {
    s.write_sync(A, "/shared/kept");
    s.settle();
    s.cut_one_way(NM, BACKUP);
    for name in 0..3 {
        s.write_sync(A, &format!("/shared/{name}"));
    }
    for _ in 0..14 {
        s.write_sync(A, "/shared/2");
    }
    for name in 0..3 {
        s.move_and_remove(A, &format!("/shared/{name}"));
    }
    s.mend();
    s.settle();
    s.rebuild = true;
}

/// What was offered to the partner arrives there after the row that ends it: it is in doubt then, and nobody else will remember
/// the removal.
fn r26_offered_late(s: &mut Stage) {
    for round in 0..4 {
        let paths = [0, 1].map(|name| format!("/shared/{round}-{name}"));
        let before = format!("/shared/{round}");
        s.write_sync(A, &before);
        s.settle();
        s.cut_one_way(SS1, BACKUP);
        s.cut_one_way(NM, BACKUP);
        // Its row is on its way, and those behind it wait and replace each other.
        s.remove(A, &before);
        for path in &paths {
            s.write(A, path);
            s.remove(A, path);
        }
        s.mend();
        s.cut_one_way(SS1, BACKUP);
        s.pass(60);
        s.mend();
        s.pass(200);
    }
    s.settle();
    // Tombstones are collected each second.
    s.pass(3000);
    s.rebuild = true;
}

/// The answer to a write is lost with its server, and its writer asks the other one, which has to be given the content
/// again: by then the file was removed, and nothing tells of it any more.
fn r26_asked_again(s: &mut Stage) {
    let writer = s.host_of(A);
    s.write_sync(A, "/shared/1");
    s.cut_one_way(SS1, writer);
    let written = s.begin_write(A, "/shared/0", true);
    s.pass(50);
    check!(s, matches!(s.read(B, "/shared/0"), Some(Some(_))), "the write is not done");
    s.remove(B, "/shared/0");
    s.pass(4000);
    check!(s, !written.is_done(), "the answer was not lost");
    s.cut_power(SS1, 1);
    s.mend();
    s.start(SS1);
    let written = s.answer(&written, LONG).flatten();
    check!(s, written.is_some(), "the writer is not told that it was done");
    s.settle();
    s.rebuild = true;
}
