//! What may be done with a write session when.

use super::*;
use proptest::prelude::*;
use types::ids::ClientId;

const TIMEOUT: Duration = Duration::from_secs(60);

fn key(number: u64) -> RequestKey {
    RequestKey { client: ClientId { issued: 1, random: 2 }, number, lowest: number }
}

fn target() -> Target {
    Target { pair: 1, folder: 5, name: "a".into(), file: 0 }
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn session() -> WriteSession {
    WriteSession::open(s(0), "ann", target(), TIMEOUT)
}

#[test]
fn an_upload_goes_on_where_it_was_after_its_client_came_back() {
    let mut session = session();
    assert_eq!(session.piece(s(1), 0, PIECE, 0), Ok(PieceStep::Take { skip: 0 }));
    assert!(!session.is_expired(s(120)));
    session.again(s(119), "ann", &target()).unwrap();
    assert_eq!(session.piece(s(119), 0, PIECE, PIECE as u64), Ok(PieceStep::Have), "sent twice");
    let half = PIECE as u64 / 2;
    assert_eq!(session.piece(s(119), half, PIECE, PIECE as u64), Ok(PieceStep::Take { skip: half }));
    assert!(!session.is_expired(s(238)));
    assert!(session.is_expired(s(239)));
}

#[test]
fn nobody_continues_or_ends_the_upload_of_somebody_else() {
    let mut session = session();
    assert_eq!(session.again(s(1), "bob", &target()).unwrap_err().code, Code::Denied);
    assert_eq!(session.commit(s(1), "bob", &target(), key(1)).unwrap_err().code, Code::Denied);
    assert_eq!(session.abort("bob").unwrap_err().code, Code::Denied);
    let elsewhere = Target { name: "b".into(), ..target() };
    assert_eq!(session.commit(s(1), "ann", &elsewhere, key(1)).unwrap_err().code, Code::BadRequest);
}

#[test]
fn r10_a_prepared_write_is_never_dropped_by_time_or_by_its_client() {
    let mut session = session();
    assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
    session.prepared();
    assert!(session.is_prepared());
    session.in_doubt();
    assert!(session.is_prepared());
    assert!(!session.is_expired(s(1_000_000)));
    assert_eq!(session.abort("ann").unwrap_err().code, Code::Locked);
    assert_eq!(session.piece(s(2), 0, 10, 0).unwrap_err().code, Code::Locked);
    session.reopen(s(1_000_000));
    assert!(!session.is_expired(s(1_000_100)), "its clock starts when it is open again");
    assert!(session.is_expired(s(1_000_120)));
}

#[test]
fn r13_a_repeated_commit_waits_for_the_first_and_another_key_is_refused() {
    let mut session = session();
    assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
    assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Join));
    let later = RequestKey { lowest: 0, ..key(1) };
    assert_eq!(session.commit(s(1), "ann", &target(), later), Ok(CommitStep::Join));
    assert_eq!(session.commit(s(1), "ann", &target(), key(2)).unwrap_err().code, Code::KeyReused);
    session.prepared();
    assert_eq!(session.commit(s(1), "ann", &target(), key(1)), Ok(CommitStep::Join));
}

#[test]
fn a_commit_refused_for_its_epoch_is_taken_again_in_the_next() {
    for code in [Code::StaleCapability, Code::WrongPair, Code::PastEpoch, Code::Handover, Code::NotActing] {
        let mut session = session();
        session.commit(s(1), "ann", &target(), key(1)).unwrap();
        session.prepared();
        assert_eq!(session.refused(s(2), code), AfterRefusal::OpenAgain);
        assert_eq!(session.commit(s(3), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
    }
    for code in [Code::Changed, Code::Exists, Code::Denied, Code::QuotaReached] {
        let mut session = session();
        session.commit(s(1), "ann", &target(), key(1)).unwrap();
        assert_eq!(session.refused(s(2), code), AfterRefusal::Over);
    }
}

#[test]
fn a_commit_whose_answer_is_forgotten_may_be_a_version_and_is_kept() {
    let mut session = session();
    session.commit(s(1), "ann", &target(), key(1)).unwrap();
    session.prepared();
    assert_eq!(session.refused(s(2), Code::KeyReused), AfterRefusal::InDoubt);
    assert_eq!(session.expires(), None, "only the log's word ends it");
    assert!(session.is_forgotten(s(70), s(60)), "and it is asked for");
}

#[test]
fn a_failover_commits_what_the_partner_had_prepared_without_sending_it_again() {
    let mut session = WriteSession::found_prepared(s(1), "ann", target());
    assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Ask));
    assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Join));
}

#[test]
fn a_full_disk_at_commit_leaves_the_session_to_be_committed_later() {
    let mut session = session();
    session.commit(s(1), "ann", &target(), key(1)).unwrap();
    session.not_prepared(s(2));
    assert_eq!(session.commit(s(3), "ann", &target(), key(1)), Ok(CommitStep::Prepare));
}

#[test]
fn r10_a_failed_try_to_commit_what_is_in_doubt_leaves_it_in_doubt() {
    let mut session = WriteSession::found_prepared(s(1), "ann", target());
    session.not_prepared(s(2));
    assert!(session.is_idle_prepared());
    assert_eq!(session.commit(s(2), "ann", &target(), key(1)), Ok(CommitStep::Ask));
    session.not_prepared(s(3));
    assert!(session.is_idle_prepared() && session.expires().is_none());
    assert_eq!(session.commit(s(4), "ann", &target(), key(1)), Ok(CommitStep::Ask), "and can be repeated");
}

#[test]
fn what_was_prepared_for_the_partner_is_asked_about_after_a_while() {
    let mut session = WriteSession::found_prepared(s(1), "ann", target());
    assert!(!session.is_forgotten(s(60), s(60)) && session.is_forgotten(s(61), s(60)));
    session.commit(s(61), "ann", &target(), key(1)).unwrap();
    assert!(!session.is_forgotten(s(200), s(60)), "somebody asks already");
}

proptest! {
    /// I9: whatever a client claims about a piece, what is taken continues what is held and ends
    /// within its chunk.
    #[test]
    fn i9_no_piece_leaves_a_hole_or_crosses_a_chunk(offset: u64, len in 0..2 * PIECE, held in 0..1u64 << 41) {
        let mut session = session();
        if let Ok(step) = session.piece(s(1), offset, len, held) {
            prop_assert!(len > 0 && len <= PIECE);
            let end = offset + len as u64;
            prop_assert!(end <= FILE_MAX);
            prop_assert_eq!(offset / CHUNK as u64, (end - 1) / CHUNK as u64);
            match step {
                PieceStep::Have => prop_assert!(end <= held),
                PieceStep::Take { skip } => {
                    prop_assert_eq!(offset + skip, held);
                    prop_assert!(skip < len as u64);
                }
            }
        }
    }

    /// R10 in any order: between prepared and an answer, nothing makes a session expire.
    #[test]
    fn r10_only_the_name_manager_ends_a_prepared_session(steps in prop::collection::vec(0..8u8, 1..40)) {
        let mut session = session();
        let mut prepared = false;
        for (at, step) in steps.into_iter().enumerate() {
            let now = s(at as u64 * 1000);
            match step {
                0 => drop(session.commit(now, "ann", &target(), key(1))),
                1 => {
                    session.prepared();
                    prepared = true;
                }
                2 => session.in_doubt(),
                3 => drop(session.piece(now, 0, 1, 0)),
                4 => drop(session.again(now, "ann", &target())),
                5 => drop(session.abort("ann")),
                6 => session.not_prepared(now),
                _ => {
                    session.reopen(now);
                    prepared = false;
                }
            }
            prop_assert!(!prepared || session.is_prepared());
            prop_assert!(!prepared || session.expires().is_none());
        }
    }
}
