//! Importing: each entry once, nothing overwritten, and only by who may.

use super::*;
use types::ids::DigestKind;

impl World {
    /// A new server that brings a folder along.
    fn bring(&mut self, name: &str, token: &[u8], next: &[u8]) -> types::Result<u64> {
        let register = Register { import: true, ..self.register(name, token, next) };
        let server = self.run(Op::Register(register))?.server.unwrap();
        self.ok(Op::Recovered(Recovered {
            server: name.into(),
            incarnation: server.incarnation,
            generation: if token.is_empty() { 0 } else { 9 },
            journal: server.journal,
            ..Recovered::default()
        }));
        Ok(server.incarnation)
    }

    fn entry(&self, number: u64, path: &str, kind: Kind) -> Import {
        let server = self.state().server("ss2").unwrap().unwrap();
        Import {
            server: "ss2".into(),
            incarnation: server.incarnation,
            pair: server.pair,
            epoch: 1,
            user: "admin".into(),
            number,
            path: path.into(),
            kind: kind as i32,
            session: vec![number as u8; 16],
            size: 5,
            digest_kind: DigestKind::Plain as u32,
            sha256: sha256(b"12345").to_vec(),
            mode: 0o640,
            mtime_ms: 1234,
            target: if kind == Kind::Symlink { "there".into() } else { String::new() },
            journal: number,
        }
    }

    fn find(&self, path: &str) -> Option<Record> {
        query::resolve(self.state(), &types::path::PathName::parse(path).unwrap()).ok()
    }

    fn files_of(&self, pair: u32) -> u64 {
        self.state().pair(pair).unwrap().unwrap().files
    }
}

fn importing() -> World {
    let mut world = World::new();
    world.bring("ss2", b"", b"t1").unwrap();
    world
}

#[test]
fn files_folders_and_links_come_in_with_modes_and_times() {
    let mut world = importing();
    world.ok(Op::Import(world.entry(1, "/d", Kind::Folder)));
    world.ok(Op::Import(world.entry(2, "/d/file", Kind::File)));
    world.ok(Op::Import(world.entry(3, "/d/link", Kind::Symlink)));
    let empty = Import { size: 0, session: Vec::new(), ..world.entry(4, "/empty", Kind::File) };
    world.ok(Op::Import(empty));
    let file = world.find("/d/file").unwrap();
    assert_eq!((file.pair, file.mode, file.mtime_ms, file.owner.as_str()), (2, 0o640, 1234, "admin"));
    assert_eq!(file.head_version().unwrap().session, [2; 16]);
    assert_eq!(world.find("/d").unwrap().mode, 0o640);
    assert_eq!(world.find("/d/link").unwrap().target, "there");
    assert!(world.find("/empty").unwrap().head_version().unwrap().is_empty());
    let server = world.state().server("ss2").unwrap().unwrap();
    let incarnation = server.incarnation;
    let end = EndImport { server: "ss2".into(), incarnation, reason: "from /x".into(), passed_over: 2 };
    world.ok(Op::EndImport(end.clone()));
    let events = world.state().events_after(0, 1000).unwrap();
    let imported = events.iter().find(|event| event.kind == "imported").unwrap();
    let numbers: Vec<_> =
        imported.numbers.iter().map(|number| (number.name.as_str(), number.value)).collect();
    assert_eq!(numbers, [("files", 2), ("folders", 1), ("links", 1), ("bytes", 5), ("skipped", 2)]);
    assert_eq!(world.refused(Op::EndImport(end)), Code::Denied);
    assert_eq!(world.refused(Op::Import(world.entry(5, "/more", Kind::File))), Code::Denied, "it is over");
    assert_eq!(
        world.bring("ss2", b"t1", b"t2").unwrap_err().code,
        Code::Exists,
        "nor does another one begin"
    );
}

#[test]
fn what_exists_is_not_overwritten_and_what_lies_below_it_is_passed_over() {
    let mut world = importing();
    let taken = world.make("/taken", Kind::File, false);
    world.ok(taken);
    let before = world.find("/taken").unwrap();
    for (number, path, kind) in [
        (1, "/taken", Kind::File),
        (2, "/taken/below", Kind::File),
        (3, "/..", Kind::File),
        (4, "/x", Kind::Unknown),
    ] {
        let answer = world.ok(Op::Import(world.entry(number, path, kind)));
        assert!(answer.record.is_none() && !answer.message.is_empty(), "{path}");
    }
    assert_eq!(world.find("/taken").unwrap(), before);
    assert_eq!(world.state().server("ss2").unwrap().unwrap().import.unwrap().skipped, 4);
}

#[test]
fn an_import_goes_on_behind_what_the_log_has_whatever_became_of_it() {
    let mut world = importing();
    let first = world.entry(1, "/a", Kind::File);
    world.ok(Op::Import(first.clone()));
    let remove = world.remove("/a", false, false);
    world.ok(remove);
    // The answer was lost, or the server: the same again makes no second file, nor does it bring back what is removed.
    assert!(world.ok(Op::Import(first.clone())).repeated);
    world.bring("ss2", b"t1", b"t2").unwrap();
    let progress = world.state().server("ss2").unwrap().unwrap().import.unwrap();
    assert_eq!((progress.done, progress.after.as_str()), (1, "/a"));
    let incarnation = world.state().server("ss2").unwrap().unwrap().incarnation;
    assert!(world.ok(Op::Import(Import { incarnation, ..first.clone() })).repeated);
    assert!(world.find("/a").is_none());
    assert_eq!(world.refused(Op::Import(first)), Code::RegisterAgain, "its start before is fenced");
    assert_eq!(
        world.refused(Op::Import(world.entry(3, "/c", Kind::File))),
        Code::BadRequest,
        "none is left out"
    );
    world.ok(Op::Import(world.entry(2, "/b", Kind::File)));
    assert_eq!(world.files_of(2), 2, "the one in the trash and this one");
}

#[test]
fn only_a_new_server_imports_and_only_into_its_own_pair_i8() {
    let mut world = importing();
    let known = world.state().server("ss1").unwrap().unwrap();
    let mut next = known.token.clone();
    next.push(1);
    assert_eq!(world.bring("ss1", &known.token, &next).unwrap_err().code, Code::Exists);
    assert_eq!(world.bring("ss2_backup", b"", b"u").unwrap_err().code, Code::Usage);
    let other = Import {
        server: "ss1".into(),
        incarnation: known.incarnation,
        pair: 1,
        ..world.entry(1, "/a", Kind::File)
    };
    assert_eq!(world.refused(Op::Import(other)), Code::Denied);
    let elsewhere = Import { pair: 1, ..world.entry(1, "/a", Kind::File) };
    assert_eq!(world.refused(Op::Import(elsewhere)), Code::WrongPair);
    let past = Import { epoch: 0, ..world.entry(1, "/a", Kind::File) };
    assert_eq!(world.refused(Op::Import(past)), Code::PastEpoch);
    let nobody = Import { user: "eve".into(), ..world.entry(1, "/a", Kind::File) };
    assert_eq!(world.refused(Op::Import(nobody)), Code::Denied);
}
