//! The state machine, command by command, over a store in memory.

use super::apply;
use crate::memory::MemoryStore;
use crate::query;
use crate::state::State;
use types::Code;
use types::command::*;
use types::content::sha256;
use types::ids::{ClientId, RequestKey, SessionId, VersionNumber};
use types::message::manager::{ListRequest, LocateRequest};
use types::message::member::Prepared;
use types::record::{Kind, Phase, Record, Row, Subject, mark};

/// A cluster with one pair, driven by commands.
struct World {
    store: MemoryStore,
    index: u64,
    time_ms: u64,
    requests: u64,
}

impl World {
    /// nm, ss1 acting, ss1_backup fresh.
    fn new() -> World {
        let mut world = World { store: MemoryStore::default(), index: 0, time_ms: 1_000_000, requests: 0 };
        world.ok(Op::Bootstrap(Bootstrap {
            cluster_id: vec![1; 16],
            master_key: vec![2; 32],
            admin: "admin".into(),
            key_id: "k1".into(),
            key: vec![3; 32],
            generation: 9,
            fast: true,
        }));
        world.start("ss1");
        world.start("ss1_backup");
        world.catch_up("ss1_backup");
        world
    }

    fn run_batch(&mut self, ops: Vec<Op>) -> Vec<Answer> {
        self.index += 1;
        self.time_ms += 10;
        let commands = ops.into_iter().map(|op| Command { op: Some(op) }).collect();
        let batch = Batch { format: BATCH_FORMAT, time_ms: self.time_ms, commands };
        apply(&mut self.store, self.index, &batch).unwrap().answers
    }

    fn run(&mut self, op: Op) -> types::Result<Answer> {
        self.run_batch(vec![op]).remove(0).into_result()
    }

    fn ok(&mut self, op: Op) -> Answer {
        self.run(op).unwrap()
    }

    fn refused(&mut self, op: Op) -> Code {
        let before = self.store.clone();
        let code = self.run(op).unwrap_err().code;
        let changed: Vec<_> = crate::store::Table::ALL
            .into_iter()
            .filter(|table| *table != crate::store::Table::Meta && !is_bookkeeping(*table))
            .filter(|table| dump(&before, *table) != dump(&self.store, *table))
            .collect();
        assert!(changed.is_empty(), "a refused command changed {changed:?}");
        code
    }

    fn state(&self) -> State<'_> {
        State::new(&self.store)
    }

    fn register(&self, name: &str, token: &[u8], next: &[u8]) -> Register {
        Register {
            server: name.into(),
            backup_of: name.strip_suffix("_backup").unwrap_or("").into(),
            token: token.to_vec(),
            next_token: next.to_vec(),
            addr: "127.0.0.1:1".into(),
            ip: "127.0.0.1".into(),
            boot: "b".into(),
            ..Register::default()
        }
    }

    /// Registers and recovers a server on its own disk, with the cursors it had.
    fn start(&mut self, name: &str) {
        let known = self.state().server(name).unwrap();
        let token = known.as_ref().map_or(Vec::new(), |server| server.token.clone());
        let mut next = token.clone();
        next.push(7);
        let server = self.ok(Op::Register(self.register(name, &token, &next))).server.unwrap();
        self.ok(Op::Recovered(Recovered {
            server: name.into(),
            incarnation: server.incarnation,
            control_cursor: server.control_cursor,
            pair_cursor: server.pair_cursor,
            journal: server.journal,
            generation: if known.is_some() { 9 } else { 0 },
        }));
    }

    fn acknowledge(&mut self, name: &str) {
        let server = self.state().server(name).unwrap().unwrap();
        let (control, pair) =
            (self.state().feed_end(0).unwrap(), self.state().feed_end(server.pair).unwrap());
        self.ok(Op::Acknowledge(Acknowledge {
            server: name.into(),
            incarnation: server.incarnation,
            control_cursor: control,
            pair_cursor: pair,
            journal: 5,
        }));
    }

    fn catch_up(&mut self, name: &str) {
        self.acknowledge(name);
        let incarnation = self.state().server(name).unwrap().unwrap().incarnation;
        self.ok(Op::CaughtUp(CaughtUp { server: name.into(), incarnation, rows_resent: 0 }));
    }

    fn fail(&mut self, name: &str) {
        let incarnation = self.state().server(name).unwrap().unwrap().incarnation;
        self.ok(Op::Fail(Fail {
            server: name.into(),
            incarnation,
            reason: "test".into(),
            ..Fail::default()
        }));
    }

    fn pair(&self) -> types::record::Pair {
        self.state().pair(1).unwrap().unwrap()
    }

    /// Fails the acting member and promotes the other, which lacks `lacks`.
    fn fail_over(&mut self, lacks: Vec<VersionRef>) {
        let pair = self.pair();
        let to = pair.partner_of(&pair.acting).to_owned();
        self.fail(&pair.acting);
        self.ok(Op::Promote(Promote {
            pair: 1,
            epoch: pair.epoch,
            to,
            reason: "test".into(),
            accept_loss: false,
        }));
        self.ok(Op::Owe(Owe { pair: 1, epoch: pair.epoch + 1, lacks, holds: vec![], done: true }));
    }

    fn asker(&mut self, ask: u8) -> Option<Asker> {
        self.requests += 1;
        let key = RequestKey {
            client: ClientId { issued: 900_000, random: 1 },
            number: self.requests,
            lowest: self.requests.saturating_sub(100).max(1),
        };
        Some(Asker::new("admin", key, [ask; 32]))
    }

    /// A write of `content` to `/name` by the acting member, as it would be now.
    fn write(&mut self, name: &str, content: u8) -> WriteComplete {
        let pair = self.pair();
        let incarnation = self.state().server(&pair.acting).unwrap().unwrap().incarnation;
        let asker = self.asker(content);
        WriteComplete {
            pair: 1,
            epoch: pair.epoch,
            server: pair.acting,
            incarnation,
            session: SessionId::from_random([self.requests as u8; 16]).0.to_vec(),
            folder: 1,
            name: name.into(),
            stamp: u64::MAX,
            size: 1,
            sha256: sha256(&[content]).to_vec(),
            asker,
            ..WriteComplete::default()
        }
    }

    fn commit(&mut self, name: &str, content: u8) -> (WriteComplete, Answer) {
        let write = self.write(name, content);
        let answer = self.ok(Op::WriteComplete(write.clone()));
        (write, answer)
    }

    fn file(&self, name: &str) -> Option<Record> {
        self.state().child(types::ids::InodeId::ROOT, name).unwrap()
    }

    fn make(&mut self, path: &str, kind: Kind, parents: bool) -> Op {
        let asker = self.asker(1);
        Op::Make(Make {
            asker,
            path: path.into(),
            kind: kind as i32,
            parents,
            pair: 1,
            target: String::new(),
        })
    }

    fn remove(&mut self, path: &str, recursive: bool, now: bool) -> Op {
        let asker = self.asker(2);
        Op::Remove(Remove { asker, path: path.into(), recursive, now, force: false })
    }

    fn rename(&mut self, from: &str, to: &str, force: bool) -> Op {
        let asker = self.asker(3);
        Op::Move(Move { asker, from: from.into(), to: to.into(), force })
    }

    fn rows(&self, feed: u32) -> Vec<Row> {
        self.state().feed_rows(feed, 0, 1000, 1 << 20).unwrap()
    }

    fn events(&self, kind: &str) -> usize {
        self.state().events_after(0, 10_000).unwrap().iter().filter(|event| event.kind == kind).count()
    }
}

fn is_bookkeeping(table: crate::store::Table) -> bool {
    use crate::store::Table;
    // Who asked is noted even if what they asked is refused.
    matches!(table, Table::Clients | Table::ClientsByTime | Table::Results)
}

fn dump(store: &MemoryStore, table: crate::store::Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    use crate::store::Store;
    let mut all = Vec::new();
    store
        .scan(table, &[], &[], &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
    all
}

fn reference(write: &WriteComplete, answer: &Answer) -> VersionRef {
    VersionRef {
        inode: answer.record.as_ref().unwrap().id,
        session: write.session.clone(),
        sha256: write.sha256.clone(),
    }
}

#[test]
fn a_paused_old_primary_that_wakes_after_the_promotion_cannot_commit_r1() {
    let mut world = World::new();
    let late = world.write("a", 1);
    world.fail_over(vec![]);
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::PastEpoch);
}

#[test]
fn a_start_fences_the_start_before_r6() {
    let mut world = World::new();
    let late = world.write("a", 1);
    world.start("ss1");
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::RegisterAgain);
    world.commit("a", 2);
}

#[test]
fn what_a_server_acknowledged_before_it_failed_is_not_counted_as_missed() {
    let mut world = World::new();
    world.commit("a", 1);
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    let pair_cursor = world.state().feed_end(1).unwrap();
    let fail = Fail { server: server.name, incarnation: server.incarnation, pair_cursor, ..Fail::default() };
    world.ok(Op::Fail(fail));
    world.commit("b", 1);
    world.start("ss1_backup");
    assert_eq!(world.state().server("ss1_backup").unwrap().unwrap().rows_missed, 1);
}

#[test]
fn a_server_declared_failed_cannot_commit_before_it_registers_again() {
    let mut world = World::new();
    world.fail("ss1_backup");
    let late = world.write("a", 1);
    world.fail("ss1");
    assert_eq!(world.refused(Op::WriteComplete(late)), Code::RegisterAgain);
    world.start("ss1");
    world.commit("a", 2);
}

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
fn a_commit_repeated_through_the_promoted_backup_is_answered_with_the_first_outcome() {
    let mut world = World::new();
    let (mut write, first) = world.commit("a", 1);
    world.fail_over(vec![]);
    write.server = "ss1_backup".into();
    write.epoch = 2;
    assert_eq!(world.ok(Op::WriteComplete(write)).version, first.version);
}

#[test]
fn a_request_far_ahead_of_the_lowest_unanswered_one_is_refused_r13() {
    let mut world = World::new();
    let mut write = world.write("a", 1);
    write.asker.as_mut().unwrap().number += 5000;
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::BadRequest);
}

#[test]
fn an_owed_version_comes_back_as_the_head_if_nothing_newer_was_written_r12() {
    let mut world = World::new();
    world.commit("a", 1);
    let (write, answer) = world.commit("a", 2);
    world.fail_over(vec![reference(&write, &answer)]);
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 1 }, "readers get what the backup holds");
    assert!(file.versions[1].is(mark::OWED));
    assert_eq!(world.pair().owed, 1);
    let owed = world.state().owed_of(1, "ss1", 10).unwrap();
    assert_eq!(owed, [(file.id, vec![reference(&write, &answer)])]);
    let adopt =
        Adopt { pair: 1, epoch: 2, inode: file.id, holder: "ss1".into(), sessions: vec![write.session] };
    world.ok(Op::Adopt(adopt));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 2 });
    assert_eq!(file.versions[1].marks, 0);
    assert_eq!(world.pair().owed, 0);
}

#[test]
fn an_owed_version_becomes_a_conflict_if_something_newer_was_written_r12() {
    let mut world = World::new();
    world.commit("a", 1);
    let (write, answer) = world.commit("a", 2);
    world.fail_over(vec![reference(&write, &answer)]);
    world.commit("a", 3);
    let id = world.file("a").unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 2, number: 3 }, "a number is never used twice");
    assert_eq!(file.versions.len(), 3);
    assert_eq!(file.versions[1].marks, mark::CONFLICT);
}

#[test]
fn moving_the_file_meanwhile_does_not_make_the_owed_version_a_conflict_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    assert!(world.file("a").unwrap().head().is_none(), "the only copy is away");
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let id = world.file("b").unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    assert_eq!(world.file("b").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

#[test]
fn ancestors_of_an_adopted_head_take_their_old_places_r12() {
    let mut world = World::new();
    let (w1, a1) = world.commit("a", 1);
    let (w2, a2) = world.commit("a", 2);
    world.fail_over(vec![reference(&w1, &a1), reference(&w2, &a2)]);
    let id = world.file("a").unwrap().id;
    let sessions = vec![w1.session, w2.session];
    world.ok(Op::Adopt(Adopt { pair: 1, epoch: 2, inode: id, holder: "ss1".into(), sessions }));
    let file = world.file("a").unwrap();
    assert_eq!(file.head(), VersionNumber { epoch: 1, number: 2 });
    assert!(file.versions.iter().all(|version| version.marks == 0));
}

#[test]
fn what_was_removed_during_the_outage_stays_removed_i4() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let remove = world.remove("/a", false, false);
    let id = world.ok(remove).record.unwrap().id;
    world.ok(Op::Adopt(Adopt {
        pair: 1,
        epoch: 2,
        inode: id,
        holder: "ss1".into(),
        sessions: vec![write.session],
    }));
    assert!(world.file("a").is_none());
    let file = world.state().inode(id).unwrap().unwrap();
    assert!(file.trashed.is_some(), "kept in the trash with its history");
    assert_eq!(file.versions.len(), 1);
}

#[test]
fn a_purged_file_is_owed_no_more_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let remove = world.remove("/a", false, true);
    world.ok(remove);
    assert_eq!(world.pair().owed, 0);
    assert!(world.state().owed_of(1, "ss1", 10).unwrap().is_empty());
}

#[test]
fn repeating_a_commit_whose_version_is_owed_settles_it_r12() {
    let mut world = World::new();
    let (mut write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    write.server = "ss1_backup".into();
    write.epoch = 2;
    write.incarnation = world.state().server("ss1_backup").unwrap().unwrap().incarnation;
    let again = world.ok(Op::WriteComplete(write));
    assert!(again.repeated);
    assert_eq!(world.pair().owed, 0);
    assert_eq!(world.file("a").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

#[test]
fn what_the_new_acting_member_holds_of_older_debts_is_settled_at_its_owe_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let owed = reference(&write, &answer);
    world.fail_over(vec![owed.clone()]);
    // ss1 returns and follows the feed; before the debt is settled ss1_backup fails.
    world.start("ss1");
    world.catch_up("ss1");
    let pair = world.pair();
    world.fail("ss1_backup");
    world.ok(Op::Promote(Promote {
        pair: 1,
        epoch: pair.epoch,
        to: "ss1".into(),
        reason: String::new(),
        accept_loss: false,
    }));
    world.ok(Op::Owe(Owe { pair: 1, epoch: pair.epoch + 1, lacks: vec![], holds: vec![owed], done: true }));
    assert_eq!(world.pair().owed, 0);
    assert_eq!(world.file("a").unwrap().head(), VersionNumber { epoch: 1, number: 1 });
}

#[test]
fn a_server_that_missed_writes_is_not_promoted_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    world.commit("a", 1);
    world.start("ss1_backup");
    world.fail("ss1");
    let promote = Op::Promote(Promote {
        pair: 1,
        epoch: 1,
        to: "ss1_backup".into(),
        reason: String::new(),
        accept_loss: false,
    });
    assert_eq!(world.refused(promote), Code::NoActingMember);
    world.start("ss1");
    let server = world.state().server("ss1").unwrap().unwrap();
    assert!(server.fresh, "the last acting member lacks rows, not bytes");
}

#[test]
fn a_member_that_returns_with_nothing_missed_stays_fresh_unless_it_was_declared_failed_r8() {
    let mut world = World::new();
    world.acknowledge("ss1_backup");
    // Its registration itself is announced in the control feed; a restart within the same rows is behind
    // by that one, so it catches up by the ordinary way.
    world.start("ss1_backup");
    world.catch_up("ss1_backup");
    assert!(world.state().server("ss1_backup").unwrap().unwrap().fresh);
}

#[test]
fn catching_up_is_refused_while_rows_of_before_the_registration_are_missing_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    world.commit("a", 1);
    world.start("ss1_backup");
    let incarnation = world.state().server("ss1_backup").unwrap().unwrap().incarnation;
    let caught_up = Op::CaughtUp(CaughtUp { server: "ss1_backup".into(), incarnation, rows_resent: 1 });
    assert_eq!(world.refused(caught_up.clone()), Code::Changed);
    world.acknowledge("ss1_backup");
    world.ok(caught_up);
    let event = world.state().events_after(0, 1000).unwrap().pop().unwrap();
    assert_eq!(event.kind, "caught-up");
    let numbers: Vec<_> = event.numbers.iter().map(|number| (number.name.as_str(), number.value)).collect();
    assert_eq!(numbers, [("rows_missed", 1), ("rows_resent", 1)]);
}

#[test]
fn a_handover_ends_only_when_the_target_has_every_row_r27() {
    let mut world = World::new();
    world.commit("a", 1);
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    let held = world.write("b", 1);
    assert_eq!(world.refused(Op::WriteComplete(held.clone())), Code::Handover);
    let restore = Op::Restore(Restore { pair: 1, epoch: 1 });
    assert_eq!(world.refused(restore.clone()), Code::Changed);
    world.acknowledge("ss1_backup");
    world.ok(restore);
    let pair = world.pair();
    assert_eq!((pair.acting.as_str(), pair.epoch, pair.phase()), ("ss1_backup", 2, Phase::Steady));
    assert!(world.state().server("ss1").unwrap().unwrap().fresh, "a planned change leaves both fresh");
    assert_eq!(world.refused(Op::WriteComplete(held)), Code::PastEpoch);
}

#[test]
fn a_handover_waits_for_a_row_that_a_move_carried_behind_it_r27() {
    let mut world = World::new();
    world.commit("a", 1);
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    let before = world.pair().handover_seq;
    let rename = world.rename("/a", "/b", false);
    world.ok(rename);
    let server = world.state().server("ss1_backup").unwrap().unwrap();
    let control = world.state().feed_end(0).unwrap();
    world.ok(Op::Acknowledge(Acknowledge {
        server: server.name,
        incarnation: server.incarnation,
        control_cursor: control,
        pair_cursor: before,
        journal: 6,
    }));
    assert_eq!(world.refused(Op::Restore(Restore { pair: 1, epoch: 1 })), Code::Changed);
}

#[test]
fn an_aborted_handover_lets_the_acting_member_go_on() {
    let mut world = World::new();
    world.ok(Op::Handover(Handover { pair: 1, epoch: 1, to: "ss1_backup".into() }));
    world.ok(Op::AbortHandover(AbortHandover { pair: 1, epoch: 1, reason: "slow".into() }));
    world.commit("a", 1);
    assert_eq!(world.pair().handover_tries, 1);
}

#[test]
fn an_unknown_disk_is_accepted_only_if_nothing_can_be_lost_by_it_r7() {
    let mut world = World::new();
    let unknown = world.register("ss1", b"clone", b"x");
    assert_eq!(world.refused(Op::Register(unknown)), Code::Denied, "it acts");
    let backup = world.register("ss1_backup", b"", b"new");
    let server = world.ok(Op::Register(backup.clone())).server.unwrap();
    assert!(!server.fresh);
    assert_eq!(server.pair_cursor, 0, "an empty disk gets everything");
    let replay = Register { token: vec![], next_token: b"new".to_vec(), ..backup };
    assert!(world.run(Op::Register(replay)).is_ok());
}

#[test]
fn a_disk_that_owes_versions_is_not_replaced_in_silence_r7() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    let mut other = world.register("ss1", b"", b"new");
    assert_eq!(world.refused(Op::Register(other.clone())), Code::Denied);
    other.replace_disk = true;
    let incarnation = world.ok(Op::Register(other)).server.unwrap().incarnation;
    assert_eq!(world.pair().owed, 1, "marked by a command of its own, in slices");
    let lose = Op::Lose(Lose { server: "ss1".into(), incarnation });
    assert!(!world.ok(lose).server.unwrap().disk_lost);
    assert_eq!((world.pair().owed, world.pair().lost), (0, 1));
    assert_eq!(world.events("lost"), 1);
    assert!(world.file("a").unwrap().versions[0].is(mark::LOST), "told, never removed");
}

#[test]
fn an_old_image_of_a_disk_is_compared_from_the_start_r7() {
    let mut world = World::new();
    world.commit("a", 1);
    world.catch_up("ss1_backup");
    let token = world.state().server("ss1_backup").unwrap().unwrap().token;
    let server = world.ok(Op::Register(world.register("ss1_backup", &token, b"n"))).server.unwrap();
    let recovered = Recovered {
        server: server.name,
        incarnation: server.incarnation,
        control_cursor: server.control_cursor,
        pair_cursor: server.pair_cursor,
        journal: server.journal - 1,
        generation: 9,
    };
    let server = world.ok(Op::Recovered(recovered)).server.unwrap();
    assert_eq!((server.pair_cursor, server.fresh), (0, false));
}

#[test]
fn a_second_server_under_a_living_name_is_refused_r7() {
    let mut world = World::new();
    let token = world.state().server("ss1").unwrap().unwrap().token;
    let mut twin = world.register("ss1", &token, b"n");
    twin.elsewhere = true;
    assert_eq!(world.refused(Op::Register(twin)), Code::Locked);
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
fn only_ten_versions_are_kept_and_owed_ones_stand_outside_r11() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 0);
    world.commit("a", 1);
    world.fail_over(vec![reference(&write, &answer)]);
    for content in 2..30 {
        world.commit("a", content);
    }
    let file = world.file("a").unwrap();
    assert_eq!(file.versions.len(), 11);
    assert!(file.versions[0].is(mark::OWED));
    assert_eq!(file.head(), file.versions[10].version());
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

fn locate(world: &World, path: &str) -> query::Found {
    let request = LocateRequest { path: path.into(), rights: 3, may_be_missing: true };
    query::locate(&world.store, "admin", &request).unwrap()
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
    let request = LocateRequest { path: "/d/1".into(), rights: 1, may_be_missing: false };
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
    let found = query::resolution(&world.store, &prepared).unwrap();
    assert_eq!((found.committed, found.file), (true, answer.record.unwrap().id));
    let never = Prepared { session: vec![8; 16], asker: world.asker(1), ..prepared };
    assert!(!query::resolution(&world.store, &never).unwrap().committed);
}

#[test]
fn a_stranger_is_denied() {
    let mut world = World::new();
    world.commit("a", 1);
    let mut write = world.write("a", 2);
    write.asker.as_mut().unwrap().user = "eve".into();
    assert_eq!(world.refused(Op::WriteComplete(write)), Code::Denied);
    let request = LocateRequest { path: "/a".into(), rights: 1, may_be_missing: false };
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
fn a_first_registration_whose_answer_was_lost_may_be_repeated_r7() {
    let mut world = World::new();
    let first = world.register("ss2", b"", b"random");
    world.ok(Op::Register(first.clone()));
    let again = world.ok(Op::Register(first)).server.unwrap();
    assert_eq!(again.name, "ss2");
    let stranger = world.register("ss2", b"", b"other");
    assert_eq!(world.refused(Op::Register(stranger)), Code::Denied);
}

#[test]
fn a_server_that_started_anew_meanwhile_is_not_deposed_r6() {
    let mut world = World::new();
    let before = world.state().server("ss1").unwrap().unwrap().incarnation;
    world.start("ss1");
    let fail = Op::Fail(Fail { server: "ss1".into(), incarnation: before, ..Fail::default() });
    let to = "ss1_backup".to_owned();
    let promote = Op::Promote(Promote { pair: 1, epoch: 1, to, ..Promote::default() });
    let answers = world.run_batch(vec![fail, promote]);
    assert!(answers.iter().all(|answer| answer.code != 0), "{answers:?}");
    assert_eq!(world.pair().acting, "ss1");
}

#[test]
fn what_the_acting_member_should_have_brought_along_and_has_not_is_told_as_lost_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    let owed = reference(&write, &answer);
    world.fail_over(vec![owed.clone()]);
    world.start("ss1");
    world.catch_up("ss1");
    let pair = world.pair();
    world.fail("ss1_backup");
    world.ok(Op::Promote(Promote { pair: 1, epoch: pair.epoch, to: "ss1".into(), ..Promote::default() }));
    world.ok(Op::Owe(Owe { pair: 1, epoch: pair.epoch + 1, lacks: vec![owed], holds: vec![], done: true }));
    assert_eq!((world.pair().owed, world.pair().lost), (0, 1));
    world.start("ss1_backup");
    world.catch_up("ss1_backup");
    world.ok(Op::Handover(Handover { pair: 1, epoch: 3, to: "ss1_backup".into() }));
}

#[test]
fn an_old_image_that_owes_versions_is_not_taken_in_silence_r7() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 1);
    world.acknowledge("ss1");
    world.fail_over(vec![reference(&write, &answer)]);
    let token = world.state().server("ss1").unwrap().unwrap().token;
    for (replace, next) in [(false, b"n"), (true, b"m")] {
        let token = if replace { b"n".to_vec() } else { token.clone() };
        let register = Register { replace_disk: replace, ..world.register("ss1", &token, next) };
        let server = world.ok(Op::Register(register)).server.unwrap();
        let recovered = Recovered {
            server: server.name,
            incarnation: server.incarnation,
            journal: 1,
            generation: 9,
            ..Recovered::default()
        };
        match replace {
            false => assert_eq!(world.refused(Op::Recovered(recovered)), Code::Denied),
            true => assert!(world.ok(Op::Recovered(recovered)).server.unwrap().disk_lost),
        }
    }
}

#[test]
fn an_operator_may_accept_a_loss_and_what_is_lacking_is_listed_as_owed_r8() {
    let mut world = World::new();
    world.fail("ss1_backup");
    let (write, answer) = world.commit("a", 1);
    world.start("ss1_backup");
    world.fail("ss1");
    let promote = |accept_loss| {
        Op::Promote(Promote { pair: 1, epoch: 1, to: "ss1_backup".into(), accept_loss, ..Promote::default() })
    };
    assert_eq!(world.refused(promote(false)), Code::NoActingMember);
    world.ok(promote(true));
    let lacks = vec![reference(&write, &answer)];
    world.ok(Op::Owe(Owe { pair: 1, epoch: 2, lacks, holds: vec![], done: true }));
    assert!(world.file("a").unwrap().versions[0].is(mark::OWED), "it comes back if the disk does");
    world.commit("b", 1);
    // And the disk that is gone may be replaced now.
    let blank = Register { replace_disk: true, ..world.register("ss1", b"", b"new") };
    assert!(world.ok(Op::Register(blank)).server.unwrap().disk_lost);
}

/// Purges until nothing is due; how many rows each command made.
fn purge_all(world: &mut World, limit: u32, short_pair: u32) -> Vec<usize> {
    let mut slices = Vec::new();
    loop {
        let rows = world.ok(Op::Purge(Purge { limit, short_pair })).rows.len();
        if rows == 0 {
            return slices;
        }
        slices.push(rows);
    }
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
fn what_is_purged_is_owed_no_more_r12() {
    let mut world = World::new();
    let (write, answer) = world.commit("a", 7);
    world.fail_over(vec![reference(&write, &answer)]);
    assert_eq!(world.pair().owed, 1);
    let remove = world.remove("/a", false, false);
    world.ok(remove);
    assert_eq!(purge_all(&mut world, 64, 1), [1]);
    assert_eq!(world.pair().owed, 0);
    assert!(world.state().owed_of(1, "ss1", 10).unwrap().is_empty());
}
