//! The state machine, command by command, over a store in memory.

mod collect;
mod damage;
mod disks;
mod import;
mod owed;
mod rebuild;
mod reigns;
mod tree;
mod writes;

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
            damaged: false,
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
        Op::Make(Make { asker, path: path.into(), kind: kind as i32, parents, pair: 1, ..Make::default() })
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

fn locate(world: &World, path: &str) -> query::Found {
    let request =
        LocateRequest { path: path.into(), rights: 3, may_be_missing: true, ..LocateRequest::default() };
    query::locate(&world.store, "admin", &request).unwrap()
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
