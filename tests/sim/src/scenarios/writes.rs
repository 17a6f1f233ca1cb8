//! Writes: R10 to R19, R28.

use super::Table;
use super::stage::{A, B, LONG, Stage};
use crate::cluster::{BACKUP, SS1};
use crate::load::value_of;
use client::{Content, ReadOptions, WriteOptions};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use types::Code;
use types::limits::{CHUNK, PIECE};

/// Between two halves of a piece of an upload, ms: usually, and so slow that there is time to notice a cut way.
const PAUSE: u64 = 2;
const SLOW: u64 = 250;
/// Halves of pieces in the first chunk.
const FIRST_CHUNK: u64 = (CHUNK / (PIECE / 2)) as u64;

pub(super) const ALL: Table = &[
    ("r10_what_was_prepared_survives_the_restart_of_its_server", r10),
    ("r11_what_is_owed_is_listed_and_older_content_is_served_meanwhile", r11),
    ("r12_what_is_owed_comes_back_and_becomes_a_conflict_if_it_lost", r12),
    ("r13_a_repeated_request_is_done_once", r13),
    ("r14_a_write_into_a_folder_that_has_moved_lands_nowhere_else", r14),
    ("r15_a_capability_that_was_changed_opens_nothing", r15),
    ("r18_an_upload_goes_on_when_its_server_is_killed", r18),
    ("r18_a_client_keeps_what_the_partner_has_not_got", r18_slow),
    ("r19_sync_waits_for_both", r19),
    ("r28_an_upload_outlives_two_reigns", r28),
    ("r28_who_comes_to_act_takes_the_bytes_that_its_partner_has", r28_apart),
    ("r28_who_was_away_takes_what_its_partner_had_alone", r28_returned),
    ("r28_bytes_that_were_let_go_are_fetched_when_they_can_be", r28_late),
];

/// Its `WriteComplete` is on its way, or answered, and no row has come, when it is killed.
fn r10(s: &mut Stage) {
    s.kill(BACKUP);
    s.pass(2000);
    for round in 0..8 {
        let path = format!("/own/{round}");
        let written = s.begin_write(A, &path, false);
        s.pass(2 * round);
        s.cluster.wait(if round % 2 == 0 { LONG } else { 0 }, |_| written.is_done());
        s.kill(SS1);
        s.start(SS1);
        let written = s.answer(&written, LONG).flatten();
        check!(s, written.is_some(), "a write is not done although its server is back");
        check!(s, s.read(B, &path) == Some(written), "what was acknowledged cannot be read");
    }
}

/// Writes a version that only the primary has, and kills that.
fn owe(s: &mut Stage) -> (Option<u64>, Option<u64>) {
    let first = s.write_sync(A, "/own/0");
    s.settle();
    s.cut(SS1, BACKUP);
    let second = s.write(A, "/own/0");
    s.kill(SS1);
    s.until_serves(BACKUP, LONG);
    s.mend();
    (first, second)
}

fn r11(s: &mut Stage) {
    let (first, second) = owe(s);
    let read = s.begin_read(B, "/own/0");
    let read = s.answer(&read, 4000).flatten();
    check!(s, read == Some(first), "what the backup holds is not served");
    s.start(SS1);
    s.settle();
    check!(
        s,
        s.read(B, "/own/0") == Some(second),
        "what was owed is not the head although nobody wrote since"
    );
}

fn r12(s: &mut Stage) {
    let (_, second) = owe(s);
    let third = s.write(A, "/own/0");
    s.start(SS1);
    s.settle();
    check!(s, s.read(B, "/own/0") == Some(third), "what lost is the head");
    check!(s, second.is_some(), "the second version was not written");
    // That it is kept beside the head is judged in the end (I2).
}

/// The answer is lost, others see what was done and do something else, then it is asked again.
fn r13(s: &mut Stage) {
    for round in 0..6 {
        let path = format!("/shared/{round}");
        s.write_sync(B, &path);
        s.read(A, &path);
        let host = s.host_of(A);
        let written = s.begin_write(A, &path, false);
        s.pass(2 + round % 3);
        s.cut_one_way(SS1, host);
        s.pass(300);
        s.read(B, &path);
        s.write(B, &path);
        s.break_streams(SS1, host);
        s.mend();
        s.answer(&written, LONG);
        s.read(B, &path);
        s.read(A, &path);
    }
}

/// A client has looked a folder up, and another one gives it another name.
fn r14(s: &mut Stage) {
    for round in 0..3 {
        let (old, new) = (format!("/tree{round}"), format!("/moved{round}"));
        let (file, moved) = (format!("{old}/file"), format!("{new}/file"));
        let folder = old.clone();
        s.ask(A, move |client, _| async move { client.mkdir(&folder, true, None).await });
        let first = s.write_sync(A, &file);
        let renamed =
            s.ask(B, move |client, _| async move { client.rename(&old, &new, &Default::default()).await });
        check!(s, matches!(renamed, Some(Ok(_))), "a folder cannot be moved");
        let written = s.ask(A, move |client, _| async move {
            client.write(&file, Content::from("late"), &WriteOptions::default()).await
        });
        let refused = matches!(&written, Some(Err(error)) if error.code == Code::NotFound);
        check!(s, refused, "a write by the old path is not refused");
        // Read past the history: it stands there under another path.
        let read = s.ask(B, move |client, _| async move {
            let mut reader = client.read(&moved, &ReadOptions::default()).await?;
            reader.to_end(4 << 20).await
        });
        let value = read.and_then(Result::ok).and_then(|bytes| value_of(&bytes));
        check!(s, value == first, "what was written before is not there under the new path");
        s.remove_tree(A, &format!("/moved{round}"));
    }
}

/// What strangers try is tried at the end of every scenario (I8).
fn r15(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
}

/// Uploads something large that cannot be read again, does something `millis` after its first bytes were sent (the client
/// looks first whether it is one chunk only, which it would keep), and tells whether it is there in the end. Half a piece
/// comes each `pause` ms.
fn upload(s: &mut Stage, path: &'static str, pause: u64, millis: u64, meanwhile: impl FnOnce(&mut Stage)) {
    let bytes: Vec<u8> = (0..2 * CHUNK + 77).map(|byte| (byte % 251) as u8).collect();
    let content = bytes.clone();
    let written = s.begin_ask(A, move |client, _| async move {
        let (mut end, stream) = tokio::io::duplex(PIECE);
        tokio::spawn(async move {
            for piece in content.chunks(PIECE / 2) {
                // Who reads may have given up.
                let _ = end.write_all(piece).await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        });
        client.write(path, Content::Stream(Box::new(stream)), &WriteOptions::default()).await
    });
    s.pass(FIRST_CHUNK * pause + millis);
    check!(s, !written.is_done(), "it is done before anything happens");
    meanwhile(s);
    let written = s.answer(&written, LONG);
    let why = match &written {
        Some(Err(error)) => error.message.clone(),
        _ => "no answer".to_owned(),
    };
    check!(s, matches!(written, Some(Ok(_))), &format!("the upload is not done: {why}"));
    let read = s.ask(B, move |client, _| async move {
        let mut reader = client.read(path, &ReadOptions::default()).await?;
        reader.to_end(4 * CHUNK as u64).await
    });
    check!(s, matches!(&read, Some(Ok(read)) if *read == bytes), "another content is read");
}

fn r28(s: &mut Stage) {
    upload(s, "/own/a", PAUSE, 25, |s| {
        s.switch_to(BACKUP);
        s.pass(10);
        s.kill(BACKUP);
        s.pass(1500);
    });
    s.start(BACKUP);
    s.settle();
}

/// The partners cannot reach each other for a while, so that only one has what the client has let go.
fn r28_apart(s: &mut Stage) {
    s.cut(SS1, BACKUP);
    // Until they have noticed.
    s.pass(6000);
    upload(s, "/own/a", PAUSE, 40, |s| {
        s.mend();
        s.switch_to(BACKUP);
    });
    s.settle();
}

/// The partner was away while the client let bytes go, and comes to act before they are passed on to it.
fn r28_returned(s: &mut Stage) {
    s.kill(BACKUP);
    s.pass(2000);
    upload(s, "/own/a", SLOW, 2000, |s| {
        s.cut(SS1, BACKUP);
        s.start(BACKUP);
        s.until_fresh(BACKUP, LONG);
        s.switch_to(BACKUP);
        s.mend();
    });
    s.settle();
}

/// They still cannot reach each other when the other one comes to act: what it lacks cannot be passed on to it any more.
fn r28_late(s: &mut Stage) {
    s.cut(SS1, BACKUP);
    // Until they have noticed, and the client is told that nothing is passed on.
    upload(s, "/own/a", SLOW, 7000, |s| {
        s.switch_to(BACKUP);
        s.mend();
    });
    s.settle();
}

/// The way to the partner is so slow that nothing of the rest has arrived there when the acting member loses power.
fn r18_slow(s: &mut Stage) {
    for (path, millis) in [("/own/a", 15), ("/own/b", 25)] {
        upload(s, path, PAUSE, millis, |s| {
            s.cut_one_way(SS1, BACKUP);
            s.pass(30);
            s.cut_power(SS1, millis);
            s.mend();
        });
        s.start(SS1);
        s.settle();
    }
}

fn r18(s: &mut Stage) {
    for (path, millis) in [("/own/a", 15), ("/own/b", 40), ("/own/c", 25), ("/own/d", 31)] {
        upload(s, path, PAUSE, millis, |s| s.kill(SS1));
        s.start(SS1);
        s.settle();
    }
}

fn r19(s: &mut Stage) {
    s.write_sync(A, "/shared/0");
    s.kill(BACKUP);
    let written = s.begin_write(A, "/shared/0", true);
    s.pass(4000);
    check!(s, !written.is_done(), "it was acknowledged with one copy");
    s.start(BACKUP);
    let written = s.answer(&written, LONG).flatten();
    check!(s, written.is_some(), "it is not done although both are there");
}
