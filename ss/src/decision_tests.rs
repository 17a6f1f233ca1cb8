//! What becomes of sessions, against a real store, with a name manager and a partner that answer as they are told.

use crate::janitor;
use crate::ops::commit::{self, Source};
use crate::ops::{abort, get_bytes, pass_abort, pass_prepare, survey};
use crate::sessions::Piece;
use crate::store::{Prepare, State};
use crate::test_bench::{
    LATER, asker, bench, content, content_of, id, passed, request, row, target, version,
};
use crate::upload::Sender;
use net::clock::boottime;
use ss_core::session::WriteSession;
use std::time::Duration;
use types::command::Answer;
use types::content::{block_crcs, crc64};
use types::limits::PIECE;
use types::message::Method;
use types::message::member::{Complete, GrantMessage, SurveyRequest};
use types::message::partner::{
    GetBytesRequest, PassAbort, PassAbortRequest, PassPrepare, PassPrepareRequest,
};
use types::message::store::{AbortRequest, Durability};
use types::record::{Kind, Record, Row, Subject, Version, on};
use types::{Code, Error};

#[tokio::test(flavor = "multi_thread")]
async fn r19_a_repeated_synchronous_write_that_is_a_version_needs_no_partner() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    let told = Version { durable_on: on::BOTH, ..version() };
    *bench.others.answer.lock().unwrap() =
        Answer { repeated: true, version: Some(told), ..Answer::default() };
    let receipt = bench.commit("ann", Durability::Sync, Source::Pieces).await.unwrap();
    assert_eq!(receipt.durable_on, on::BOTH, "as it was told the first time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_meets_the_end_of_a_passed_upload_is_repeated_and_loses_nothing() {
    let bench = bench(true, false).await;
    let open = || WriteSession::open(boottime(), "ann", target(), Duration::from_secs(60));
    let upload = bench.node.sessions.get_or_open(id(), None, open).unwrap();
    let piece = Piece { offset: 0, crcs: block_crcs(&content()), bytes: content() };
    upload.piece(&bench.node, Sender::Client, piece).await.unwrap();
    let (passed, store, whole) = (upload.clone(), bench.store().clone(), crc64(&content()));
    let taken = bench.node.pool.run(move || passed.finish(&store, 1000, whole, &[])).await.unwrap();
    let early = bench.commit("ann", Durability::Async, Source::Pieces).await;
    assert_eq!(early.unwrap_err().code, Code::Busy);
    assert!(bench.node.sessions.get(id()).is_some());
    let (asker, content) = (Some(asker("ann")), Some(taken));
    let prepare = Prepare {
        session: id(),
        target: target(),
        asker,
        content,
        for_partner: true,
        lazy: false,
        lone: false,
        seen: 0,
    };
    bench.store().prepare(prepare).await.unwrap();
    upload.prepared_for_partner(1000);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_what_a_repeated_command_has_brought_once_more_goes_again() {
    let bench = bench(true, true).await;
    let first = Version { session: vec![77; 16], durable_on: on::PRIMARY, ..version() };
    *bench.others.answer.lock().unwrap() =
        Answer { repeated: true, version: Some(first.clone()), ..Answer::default() };
    let receipt = bench.commit("ann", Durability::Async, Source::Body(content())).await.unwrap();
    assert_eq!((receipt.durable_on, receipt.version), (on::PRIMARY, Some(first)), "of the one that is kept");
    assert_eq!(bench.state(), None, "or a rebuild would make a version of it");
    bench
        .until("the partner to hear of it", || bench.others.answered.lock().unwrap().contains(&PassAbort::ID))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_what_is_brought_once_more_of_a_version_that_is_gone_by_now_goes_again() {
    let bench = bench(true, true).await;
    // Removed and forgotten; or there, without this version.
    for record in [None, Some(Record { id: 17, seq: 9, kind: Kind::File as i32, ..Record::default() })] {
        *bench.others.answer.lock().unwrap() =
            Answer { repeated: true, version: Some(version()), record, ..Answer::default() };
        let receipt = bench.commit("ann", Durability::Async, Source::Body(content())).await.unwrap();
        assert_eq!(receipt.version, Some(version()), "it was written");
        assert_eq!(bench.state(), None, "and a rebuild would bring it back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_what_a_row_that_has_not_come_may_name_is_not_dropped() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    bench.resolve_as_undecided(10).await;
    assert_eq!(bench.state(), Some(State::Open));
    janitor::expire(&bench.node, LATER).await;
    let request = AbortRequest { session: id().0.to_vec() };
    abort::run(bench.node.clone(), "ann".into(), request).await.unwrap();
    assert_eq!(bench.state(), Some(State::Open), "neither time nor its client ends it");
    bench.store().advance(0, 1, 10).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), None, "the rows have come and did not name it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r11_what_a_survey_counts_as_held_is_durable() {
    let bench = bench(true, false).await;
    let position = bench.prepare(true, true).await;
    let request = SurveyRequest { pair: 1, epoch: 1, rows: vec![row(7)] };
    let found = survey::run(bench.node.clone(), request).await.unwrap();
    assert!(found.lacks.is_empty());
    assert!(bench.store().journal_end() > position);
}

#[tokio::test(flavor = "multi_thread")]
async fn r19_prepared_is_said_of_what_is_durable_and_not_open() {
    let bench = bench(false, false).await;
    let position = bench.prepare(true, true).await;
    let prepare = || PassPrepareRequest { epoch: 1, sessions: vec![passed()], durable: true };
    let reply = pass_prepare::run(bench.node.clone(), prepare()).await.unwrap();
    assert_eq!(reply.prepared, [true]);
    assert!(bench.store().journal_end() > position);
    bench.resolve_as_undecided(0).await;
    assert_eq!(bench.state(), Some(State::Open));
    let reply = pass_prepare::run(bench.node.clone(), prepare()).await.unwrap();
    assert_eq!((reply.prepared, bench.state()), (vec![true], Some(State::Prepared)));
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Prepared));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_partner_hears_of_an_end_after_all_that_it_was_offered() {
    let bench = bench(true, true).await;
    *bench.others.slow.lock().unwrap() = Duration::from_millis(200);
    *bench.others.answer.lock().unwrap() = Answer::refused(Error::new(Code::Exists, "a", "b"));
    let refused = bench.commit("ann", Durability::Async, Source::Body(content())).await;
    assert_eq!(refused.unwrap_err().code, Code::Exists);
    let answered = || bench.others.answered.lock().unwrap().clone();
    bench.until("the abort", || answered().contains(&PassAbort::ID)).await;
    let of_partner: Vec<u16> = answered().into_iter().filter(|method| *method >= 500).collect();
    assert_eq!(of_partner, [PassPrepare::ID, PassAbort::ID]);
    assert_eq!(bench.state(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_for_the_partner_goes_with_its_abort_also_without_an_upload() {
    let bench = bench(false, false).await;
    bench.prepare(true, false).await;
    let abort = || PassAbortRequest { session: id().0.to_vec() };
    pass_abort::run(bench.node.clone(), abort()).await.unwrap();
    assert_eq!(bench.state(), None);
    bench.prepare(true, false).await;
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    pass_abort::run(bench.node.clone(), abort()).await.unwrap();
    assert_eq!(bench.state(), Some(State::Kept), "a version is a version");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_prepared_for_the_partner_and_forgotten_there_is_asked_about_and_expires() {
    let bench = bench(false, false).await;
    let prepare = PassPrepareRequest { epoch: 1, sessions: vec![passed()], durable: true };
    pass_prepare::run(bench.node.clone(), prepare).await.unwrap();
    *bench.others.resolved.lock().unwrap() = (true, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), Some(State::Prepared), "the log has it: its row comes");
    *bench.others.resolved.lock().unwrap() = (false, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::from_secs(60)).await.unwrap();
    assert_eq!(bench.state(), Some(State::Prepared), "the partner may be about to commit it");
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Open));
    bench.store().advance(0, 1, 5).await.unwrap();
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_the_acting_member_had_decided_and_no_row_has_named_is_asked_about_too() {
    let bench = bench(true, false).await;
    bench.commit("ann", Durability::Async, Source::Body(content())).await.unwrap();
    // It was removed before its row went out: none will name it.
    assert_eq!(bench.state(), Some(State::Prepared));
    *bench.others.resolved.lock().unwrap() = (true, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), Some(State::Prepared), "the log has it: its row comes");
    *bench.others.resolved.lock().unwrap() = (false, 5);
    janitor::ask_for_forgotten(&bench.node, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), Some(State::Open), "or a rebuild would make a file of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_comes_so_late_that_its_removal_may_be_forgotten_here_is_not_prepared() {
    let bench = bench(false, false).await;
    let late = || PassPrepareRequest { epoch: 1, sessions: vec![passed()], durable: true };
    let removed = |seq| {
        let Some(Subject::Record(record)) = row(seq).subject else { panic!("a record") };
        let (kind, versions) = (Kind::Tombstone as i32, Vec::new());
        let record = Record { id: 99, kind, versions, ..record };
        Row { seq, subject: Some(Subject::Record(record)) }
    };
    bench.store().apply(1, vec![removed(7)]).await.unwrap();
    bench.store().forget(1, 7).await.unwrap();
    let reply = pass_prepare::run(bench.node.clone(), late()).await.unwrap();
    assert_eq!((reply.prepared, bench.state()), (vec![false], None));
    let mut again = late();
    again.sessions[0].seen = 7;
    let reply = pass_prepare::run(bench.node.clone(), again).await.unwrap();
    assert_eq!(reply.prepared, [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_whose_row_was_replaced_meanwhile_does_not_stay_for_ever() {
    let bench = bench(false, false).await;
    let copy = || bench.store().small(content(), crc64(&content())).unwrap();
    let mut seen = janitor::Unnamed::default();
    bench.store().keep_fetched(id(), copy()).await.unwrap();
    *bench.others.resolved.lock().unwrap() = (false, 5);
    janitor::drop_unnamed(&bench.node, &mut seen, Duration::from_secs(60)).await.unwrap();
    assert!(bench.others.answered.lock().unwrap().is_empty(), "its row may be on its way");
    for _ in 0..2 {
        janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
        assert_eq!(bench.state(), Some(State::Fetched), "a row up to the feed's end may name it");
    }
    bench.store().advance(0, 1, 5).await.unwrap();
    janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
    assert_eq!(bench.state(), None);
    // One that its row names is a version.
    bench.store().keep_fetched(id(), copy()).await.unwrap();
    bench.store().apply(1, vec![row(7)]).await.unwrap();
    for _ in 0..3 {
        janitor::drop_unnamed(&bench.node, &mut seen, Duration::ZERO).await.unwrap();
    }
    assert_eq!(bench.state(), Some(State::Kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn r28_the_new_acting_member_takes_over_what_its_partner_has_of_an_upload() {
    let bench = bench(true, true).await;
    let size = PIECE as u64 + 1000;
    assert_eq!(bench.open("ann").await.unwrap().held, size);
    let range = GetBytesRequest { session: id().0.to_vec(), offset: PIECE as u64, len: 2000 };
    let (told, bytes) = get_bytes::run(bench.node.clone(), range).await.unwrap();
    assert_eq!((told.crc64, bytes), (crc64(&content()), content()), "and gives it in its turn");
    let whole = content_of(PIECE + 1000);
    let mut commit = request("ann", Durability::Async);
    (commit.size, commit.crc64) = (size, crc64(&whole));
    commit::run(bench.node.clone(), "ann".into(), commit, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r27_while_handovers_fail_a_commit_is_sent_only_once_both_have_it() {
    let bench = bench(true, false).await;
    let (number, incarnation) = bench.node.serving.sending().unwrap();
    let word = GrantMessage { number, incarnation, serve: true, epoch: 1, ..GrantMessage::default() };
    bench.node.serving.granted(GrantMessage { both_first: true, ..word });
    // Less than it waits for the partner, after which it would go on without.
    let while_it_waits = Duration::from_millis(1_500);
    let commit = bench.commit("ann", Durability::Async, Source::Body(content()));
    assert!(tokio::time::timeout(while_it_waits, commit).await.is_err(), "it waits for both");
    assert!(!bench.others.answered.lock().unwrap().contains(&Complete::ID), "the log was not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_nobody_commits_what_another_user_wrote() {
    let bench = bench(true, false).await;
    bench.prepare(true, false).await;
    let stolen = bench.commit("bob", Durability::Async, Source::Pieces).await;
    assert_eq!(stolen.unwrap_err().code, Code::Denied);
    let seen = bench.open("bob").await;
    assert_eq!(seen.unwrap_err().code, Code::Denied);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_a_copy_from_the_partner_is_committed_only_again() {
    let bench = bench(true, false).await;
    let copy = bench.store().small(content(), crc64(&content())).unwrap();
    bench.store().keep_fetched(id(), copy).await.unwrap();
    let stolen = bench.commit("bob", Durability::Async, Source::Pieces).await;
    assert_eq!(stolen.unwrap_err().code, Code::Denied);
    assert!(!bench.others.answered.lock().unwrap().contains(&Complete::ID));
    *bench.others.resolved.lock().unwrap() = (true, 0);
    bench.commit("ann", Durability::Async, Source::Pieces).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_a_try_that_fails_before_the_log_was_asked_leaves_what_is_in_doubt_in_doubt() {
    let bench = bench(true, false).await;
    bench.prepare(false, false).await;
    let failed = bench.commit("ann", Durability::Sync, Source::Pieces).await;
    assert_eq!(failed.unwrap_err().effect, types::Effect::Unknown, "the deadlines are the same");
    bench.until("the try to end", || bench.node.sessions.is_waiting_for_word(id())).await;
    janitor::expire(&bench.node, LATER).await;
    assert_eq!(bench.state(), Some(State::Prepared));
}
