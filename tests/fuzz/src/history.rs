//! Commands as a cluster has them, for inputs to begin with.

use nm_core::state::State;
use types::command::*;
use types::content::sha256;
use types::ids::{ClientId, InodeId, RequestKey, SessionId};
use types::rebuild::{PreparedWrite, Rebuild, StandReport, Step, TakeIn};
use types::record::{Event, Kind};

use crate::targets::state::base;

fn asker(number: u64) -> Option<Asker> {
    let key = RequestKey { client: ClientId { issued: 900_000, random: 1 }, number, lowest: 1 };
    Some(Asker::new("admin", key, [number as u8; 32]))
}

fn start(server: &str, incarnation: u64) -> [Op; 2] {
    let backup_of = server.strip_suffix("_backup").unwrap_or_default().to_owned();
    let register = Register {
        server: server.into(),
        backup_of,
        next_token: vec![7],
        addr: "127.0.0.1:1".into(),
        ip: "127.0.0.1".into(),
        boot: "b".into(),
        ..Register::default()
    };
    let recovered = Recovered { server: server.into(), incarnation, ..Recovered::default() };
    [Op::Register(register), Op::Recovered(recovered)]
}

fn make(number: u64, path: &str, kind: Kind) -> Op {
    let (path, kind) = (path.to_owned(), kind as i32);
    Op::Make(Make { asker: asker(number), path, kind, parents: true, pair: 1, ..Make::default() })
}

fn write(number: u64, folder: u64, name: &str) -> Op {
    Op::WriteComplete(WriteComplete {
        asker: asker(number),
        pair: 1,
        epoch: 1,
        server: "ss1".into(),
        incarnation: 1,
        session: SessionId::from_random([number as u8; 16]).0.to_vec(),
        folder,
        name: name.into(),
        stamp: u64::MAX,
        size: 1,
        sha256: sha256(&[number as u8]).to_vec(),
        ..WriteComplete::default()
    })
}

fn bootstrap(generation: u64) -> Bootstrap {
    Bootstrap {
        cluster_id: vec![1; 16],
        master_key: vec![2; 32],
        admin: "admin".into(),
        key_id: "k1".into(),
        key: vec![3; 32],
        generation,
        fast: true,
    }
}

/// A cluster with a pair, some files, and some that were removed.
pub fn cluster() -> Vec<Batch> {
    let mut ops = vec![Op::Bootstrap(bootstrap(9))];
    ops.extend(start("ss1", 1));
    ops.extend(start("ss1_backup", 2));
    ops.push(Op::Acknowledge(Acknowledge {
        server: "ss1_backup".into(),
        incarnation: 2,
        control_cursor: u64::MAX >> 1,
        pair_cursor: u64::MAX >> 1,
        journal: 5,
    }));
    ops.push(Op::CaughtUp(CaughtUp { server: "ss1_backup".into(), incarnation: 2, rows_resent: 0 }));
    ops.extend([make(1, "/docs/inner", Kind::Folder), make(2, "/empty", Kind::File)]);
    ops.extend([write(3, 1, "file"), write(4, 1, "file"), write(5, 1, "trashed"), write(6, 1, "gone")]);
    let remove = |number, path: &str, now| {
        Op::Remove(Remove { asker: asker(number), path: path.into(), now, ..Remove::default() })
    };
    ops.extend([remove(7, "/trashed", false), remove(8, "/gone", true)]);
    ops.push(Op::Move(Move {
        asker: asker(9),
        from: "/empty".into(),
        to: "/docs/moved".into(),
        force: false,
    }));
    batches(ops)
}

/// One command each.
fn batches(ops: Vec<Op>) -> Vec<Batch> {
    let one = |(at, op): (usize, Op)| Batch {
        format: BATCH_FORMAT,
        time_ms: 1_000_000 + 10 * at as u64,
        commands: vec![Command { op: Some(op) }],
    };
    ops.into_iter().enumerate().map(one).collect()
}

/// A name manager that is made anew from what the members of that cluster hold; from nothing.
pub fn rebuild() -> Vec<Batch> {
    let member = |server: &str| StandReport {
        server: server.into(),
        addr: "127.0.0.1:1".into(),
        cluster_id: vec![1; 16],
        generation: 9,
        token: vec![7],
        incarnation: 7,
        journal: 100,
        boot: "b".into(),
        ..StandReport::default()
    };
    let members = vec![member("ss1"), member("ss1_backup")];
    let begin = Rebuild { step: Step::Begin as i32, cluster: Some(bootstrap(10)), members };
    let step = |step: Step| Op::Rebuild(Rebuild { step: step as i32, ..Rebuild::default() });
    let state = State::new(base());
    let rows = |feed| state.feed_rows(feed, 0, usize::MAX, usize::MAX).expect("memory can be read");
    let take_in = |rows, writes| Op::TakeIn(TakeIn { server: "ss1".into(), rows, writes });
    let write = PreparedWrite {
        session: vec![99; 16],
        pair: 1,
        folder: 1,
        name: "in doubt".into(),
        asker: asker(20),
        size: 1,
        sha256: sha256(b"in doubt").to_vec(),
        seen: 5,
        ..PreparedWrite::default()
    };
    batches(vec![
        Op::Rebuild(begin),
        take_in(rows(0), Vec::new()),
        take_in(rows(1), Vec::new()),
        step(Step::Settle),
        take_in(Vec::new(), vec![write]),
        step(Step::Settle),
        step(Step::Finish),
    ])
}

/// A second pair whose primary brings a folder along; in that cluster.
pub fn import() -> Vec<Batch> {
    let mut ops = start("ss2", 3).to_vec();
    if let Op::Register(register) = &mut ops[0] {
        register.import = true;
    }
    for (number, path, kind) in
        [(1, "/d", Kind::Folder), (2, "/d/file", Kind::File), (3, "/d/link", Kind::Symlink)]
    {
        ops.push(Op::Import(Import {
            server: "ss2".into(),
            incarnation: 3,
            pair: 2,
            epoch: 1,
            user: "admin".into(),
            number,
            path: path.into(),
            kind: kind as i32,
            session: vec![number as u8; 16],
            size: 5,
            sha256: sha256(b"12345").to_vec(),
            mode: 0o640,
            mtime_ms: 1234,
            target: if kind == Kind::Symlink { "there".into() } else { String::new() },
            journal: number,
            ..Import::default()
        }));
    }
    ops.push(Op::EndImport(EndImport {
        server: "ss2".into(),
        incarnation: 3,
        reason: "3 files".into(),
        passed_over: 1,
    }));
    batches(ops)
}

/// A failure with all that follows, a handover, and upkeep; in that cluster.
pub fn upkeep() -> Vec<Batch> {
    let fail = Fail { server: "ss1".into(), incarnation: 1, reason: "gone".into(), ..Fail::default() };
    let promote =
        Promote { pair: 1, epoch: 1, to: "ss1_backup".into(), reason: "gone".into(), ..Promote::default() };
    let file =
        State::new(base()).child(InodeId::ROOT, "file").expect("memory can be read").expect("it is there");
    let lacks = vec![VersionRef { inode: file.id, session: vec![4; 16], sha256: sha256(&[4]).to_vec() }];
    let owe = Owe { pair: 1, epoch: 2, lacks, done: true, ..Owe::default() };
    let adopt =
        Adopt { pair: 1, epoch: 2, holder: "ss1".into(), sessions: vec![vec![4; 16]], inode: file.id };
    let again = start("ss1", 3);
    let (end, caught_up) = (u64::MAX >> 1, CaughtUp { server: "ss1".into(), incarnation: 3, rows_resent: 4 });
    let applied = Acknowledge {
        server: "ss1".into(),
        incarnation: 3,
        control_cursor: end,
        pair_cursor: end,
        journal: 9,
    };
    let [register, recovered] = again;
    let session = vec![50; 16];
    let upload = OpenUpload {
        asker: asker(30),
        session,
        folder: 1,
        name: "big".into(),
        pair: 1,
        expires_ms: 2_000_000,
    };
    let durability = SetDurability { asker: asker(31), path: "/docs".into(), durability: 2 };
    let note =
        Event { kind: "unwell".into(), server: "ss1".into(), reason: "disk".into(), ..Event::default() };
    batches(vec![
        Op::Fail(fail),
        Op::Promote(promote),
        Op::Owe(owe),
        register,
        recovered,
        Op::Adopt(adopt),
        Op::Acknowledge(applied),
        Op::CaughtUp(caught_up),
        Op::Handover(Handover { pair: 1, epoch: 2, to: "ss1".into() }),
        Op::AbortHandover(AbortHandover { pair: 1, epoch: 2, reason: "late".into() }),
        Op::Handover(Handover { pair: 1, epoch: 2, to: "ss1".into() }),
        Op::Restore(Restore { pair: 1, epoch: 2 }),
        Op::Prefer(Prefer { pair: 1, server: "ss1_backup".into() }),
        Op::OpenUpload(upload),
        Op::SetDurability(durability),
        Op::Note(note),
        Op::Purge(Purge { limit: 10, ..Purge::default() }),
        Op::Collect(Collect { feed: 1, upto: end, ..Collect::default() }),
        Op::Compared(Compared {
            server: "ss1".into(),
            incarnation: 3,
            set_aside: 2,
            names: vec!["x".into()],
        }),
        Op::Lose(Lose { server: "ss1".into(), incarnation: 3 }),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use nm_core::apply::apply;
    use nm_core::memory::MemoryStore;

    fn assert_done(mut store: MemoryStore, batches: Vec<Batch>) {
        for (at, batch) in batches.into_iter().enumerate() {
            for answer in apply(&mut store, 100 + at as u64, &batch).unwrap().answers {
                let refused = answer.into_result().err();
                assert!(refused.is_none(), "{:?} is refused: {refused:?}", batch.commands[0].op);
            }
        }
    }

    #[test]
    fn each_command_is_one_that_is_done() {
        assert_done(MemoryStore::default(), rebuild());
        assert_done(base().clone(), import());
        assert_done(base().clone(), upkeep());
    }
}
