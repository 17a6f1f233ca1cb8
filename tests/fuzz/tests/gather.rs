//! Makes the inputs that are kept from the beginning, anew: real messages as they went over the wires of a cluster, real
//! records as they stood on its disks, and by hand what such a cluster does not have.
//!
//! `cargo test -p pairfs-fuzz --test gather -- --ignored`. What was found later (`found-…`) stays.

use ::log::{Disk, Log, LogConfig, Position, RealDisk};
use bytes::{Bytes, BytesMut};
use net::frame::{Frame, FrameCodec, Kind};
use pairfs_fuzz::corpus::folder;
use pairfs_fuzz::history;
use pairfs_fuzz::input::{put_piece, put_record};
use pairfs_fuzz::targets::{capability, state};
use pairfs_fuzz::wire::{Field, Value, fullest, message};
use pairfs_tests::cluster::{all_active, pair};
use pairfs_tests::hosts::Hosts;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::codec::{Decoder, Encoder};
use types::capability::Ticket;
use types::command::Batch;
use types::content::crc64;
use types::message::forms;
use types::message::manager::{ListRequest, LocateRequest};
use types::message::member::{Prepared, ResolveRequest};

/// Messages kept of each method and direction, and the bytes of one.
const EACH: usize = 2;
const LONGEST: usize = 1500;

fn keep(target: &str, name: &str, bytes: &[u8]) {
    let folder = folder(target);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(name), bytes).unwrap();
}

/// Does what most commands do, with what goes over the wires written down.
fn record(folder: &Path) -> Hosts {
    let mut hosts = Hosts::behind_proxies(3);
    hosts.record(folder);
    hosts.serve_nm(&[]);
    let (one, two) = (hosts.addr(1), hosts.addr(2));
    hosts.serve_ss(1, "ss1", &one, &[]);
    hosts.serve_ss(2, "ss1_backup", &two, &["--backup-of", "ss1"]);
    hosts.wait("the pair to be active", all_active);
    for (words, input) in [
        (&["mkdir", "-p", "/docs/inner"][..], Vec::new()),
        (&["write", "/docs/small", "-"], b"small".to_vec()),
        (&["write", "/docs/small", "-"], b"smaller".to_vec()),
        (&["write", "/docs/large", "-"], vec![7; 700_000]),
        (&["read", "/docs/large"], Vec::new()),
        (&["read", "/docs/small"], Vec::new()),
        (&["cp", "/docs/large", "/docs/copy"], Vec::new()),
        (&["mv", "/docs/small", "/docs/inner/moved"], Vec::new()),
        (&["ls", "-l", "/docs"], Vec::new()),
        (&["rm", "/docs/copy"], Vec::new()),
        (&["status"], Vec::new()),
        (&["events"], Vec::new()),
        (&["fsck"], Vec::new()),
        (&["scrub"], Vec::new()),
    ] {
        let ran = hosts.pairfs_with(words, &input);
        assert_eq!(ran.status, 0, "{words:?}: {}", ran.stderr);
    }
    // A failure: what a fail-over, a return and a handover say.
    hosts.kill9("ss1");
    hosts.wait("the backup to act", |status| pair(status)["acting"] == "ss1_backup");
    assert_eq!(hosts.pairfs_with(&["write", "/docs/meanwhile", "-"], &vec![3; 20_000]).status, 0);
    assert_eq!(hosts.pairfs(&["rm", "--now", "/docs/large"]).status, 0);
    hosts.serve_ss(1, "ss1", &one, &[]);
    hosts.wait("ss1 to act again", |status| all_active(status) && pair(status)["acting"] == "ss1");
    hosts
}

fn frames(stream: &[u8]) -> Vec<Frame> {
    let (mut buffer, mut frames) = (BytesMut::from(stream), Vec::new());
    while let Ok(Some(frame)) = FrameCodec::proven().decode(&mut buffer) {
        frames.push(frame);
    }
    frames
}

fn wire(frames: impl IntoIterator<Item = Frame>) -> Vec<u8> {
    let mut out = BytesMut::new();
    frames.into_iter().for_each(|frame| FrameCodec::proven().encode(frame, &mut out).unwrap());
    out.to_vec()
}

fn keep_messages(folder: &Path) {
    // The longest: they say the most.
    let mut heads: BTreeMap<(u16, bool), Vec<Bytes>> = BTreeMap::new();
    for file in folder.read_dir().unwrap() {
        for frame in frames(&std::fs::read(file.unwrap().path()).unwrap()) {
            let reply = match frame.kind {
                Kind::Request | Kind::Cast => false,
                Kind::Reply => true,
                _ => continue,
            };
            if frame.head.len() <= LONGEST {
                heads.entry((frame.method, reply)).or_default().push(frame.head);
            }
        }
    }
    assert!(heads.len() > 40, "only {} kinds of messages went over the wires", heads.len());
    let mut requests = Vec::new();
    for ((method, reply), mut seen) in heads {
        seen.sort_by_key(|head| std::cmp::Reverse(head.len()));
        seen.dedup();
        for (at, head) in seen.iter().take(EACH).enumerate() {
            let mut input = method.to_le_bytes().to_vec();
            input.push(reply.into());
            input.extend_from_slice(head);
            let which = if reply { "reply" } else { "request" };
            keep("message", &format!("{method}-{which}-{at}"), &input);
        }
        if !reply && let Some(head) = seen.first().filter(|head| head.len() < 300) {
            requests.push((method, head.clone()));
        }
    }
    keep_frames(&requests);
    // And each with every field it has: also those that such a cluster does not send.
    for form in forms() {
        for (reply, reread) in [(0, form.request), (1, form.reply)] {
            let full = fullest(&|bytes| reread(bytes).ok(), 3);
            let which = if reply == 1 { "reply" } else { "request" };
            let input = [&form.id.to_le_bytes()[..], &[reply], &full].concat();
            keep("message", &format!("{}-{which}-full", form.id), &input);
        }
    }
}

fn keep_frames(requests: &[(u16, Bytes)]) {
    let request = |at: usize, body: &'static [u8]| {
        let (method, head) = requests[at % requests.len()].clone();
        Frame::new(Kind::Request, method, at as u64 + 1, head, Bytes::from_static(body))
    };
    let several = wire([request(0, b""), request(1, b"a body"), request(2, &[7; 600])]);
    let unchecked = wire([Frame { body_checked: false, ..request(3, &[1; 100]) }]);
    for (name, stream) in [("several", several), ("unchecked", unchecked)] {
        keep("frame", name, &[&[1, 200], &stream[..]].concat());
        keep("server_port", name, &[&[1], &stream[..]].concat());
    }
    let other = |kind, method, number| {
        Frame::new(kind, method, number, Bytes::from_static(b"\x08\x01"), Bytes::new())
    };
    let casts = wire([other(Kind::Cast, 401, 1), other(Kind::Goodbye, 0, 0), other(Kind::Request, 100, 2)]);
    keep("server_port", "casts", &[&[1], &casts[..]].concat());
    // The answers to a client's first call.
    let answers = wire([
        other(Kind::Push, 190, 0),
        other(Kind::Failure, 100, 9),
        other(Kind::Reply, 100, 1),
        other(Kind::Reply, 100, 0),
    ]);
    keep("client_port", "answers", &[&[1], &answers[..]].concat());
    let failed = wire([other(Kind::Push, 190, 0), other(Kind::Failure, 0, 0)]);
    keep("client_port", "failed", &[&[1], &failed[..]].concat());
}

fn keep_handshakes(folder: &Path) {
    let (mut hellos, mut challenges) = (Vec::new(), Vec::new());
    for file in folder.read_dir().unwrap() {
        let stream = frames(&std::fs::read(file.unwrap().path()).unwrap());
        let start: Vec<Frame> = stream.into_iter().take(2).collect();
        match start.first().map(|frame| frame.kind) {
            Some(Kind::Hello) => hellos.push(start),
            Some(Kind::Challenge) => challenges.push(start),
            _ => {}
        }
    }
    hellos.sort_by_key(|start| start[0].head.len());
    for (at, start) in [hellos.first(), hellos.last()].into_iter().flatten().enumerate() {
        let stream = wire(start.clone());
        keep("server_port", &format!("hello-{at}"), &[&[0], &stream[..]].concat());
        keep("frame", &format!("hello-{at}"), &[&[0, 9], &stream[..]].concat());
    }
    let start = challenges.pop().expect("somebody was asked for a proof");
    keep("client_port", "challenge", &[&[0], &wire(start)[..]].concat());
}

/// The records of a log on a disk that nobody uses.
fn records(data: &Path, folder: &str) -> Vec<(u8, Vec<u8>)> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new(data.to_owned()).unwrap());
    let config = LogConfig { folder: folder.into(), background_fill: false, ..LogConfig::default() };
    let mut records = Vec::new();
    let mut take = |entry: ::log::Entry<'_>| {
        records.push((entry.kind, entry.payload.to_vec()));
        Ok(())
    };
    Log::open(disk, config, Position::default(), &mut take).unwrap();
    assert!(!records.is_empty());
    records
}

/// Some of each kind, and all of them as one log, in parts.
fn keep_records(one: &str, all: &str, name: &str, records: &[(u8, Vec<u8>)], part: usize, parts: usize) {
    let short = |record: &&(u8, Vec<u8>)| record.1.len() <= LONGEST;
    let mut count: BTreeMap<u8, usize> = BTreeMap::new();
    for (kind, bytes) in records.iter().filter(short) {
        let seen = count.entry(*kind).or_default();
        *seen += 1;
        if *seen <= 3 {
            keep(one, &format!("{name}-{kind}-{seen}"), &[&[*kind], &bytes[..]].concat());
        }
    }
    let mut log = Vec::new();
    let mut written = 0;
    for (kind, bytes) in records.iter().filter(short) {
        if log.len() + bytes.len() > part {
            keep(all, &format!("{name}-{written}"), &std::mem::take(&mut log));
            written += 1;
            if written == parts {
                return;
            }
        }
        put_record(&mut log, *kind, bytes);
    }
    keep(all, &format!("{name}-{written}"), &log);
}

/// What stood on the disks.
fn keep_disks(hosts: &Hosts) {
    for (host, name) in [(1, "ss1"), (2, "ss1_backup")] {
        let data = hosts.folder(host).join(name);
        let journal = records(&data.join("store"), "journal");
        keep_records("journal_record", "journal", name, &journal, 6 << 10, 3);
        let identity = std::fs::read(data.join("identity")).unwrap();
        keep("small_file", &format!("identity-of-{name}"), &[&[0], &identity[..]].concat());
    }
    let raft = records(&hosts.folder(0).join("nm"), "raft");
    keep_records("raft_record", "raft_log", "nm", &raft, 6 << 10, 2);
    keep_state(&raft);
}

/// What of an entry of the Raft log holds commands.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "3")]
    data: Vec<u8>,
}

/// The commands of a whole cluster, from its first on.
fn keep_state(raft: &[(u8, Vec<u8>)]) {
    const ENTRY: u8 = 1;
    let entries = raft.iter().filter(|(kind, _)| *kind == ENTRY);
    let batches = entries.map(|(_, record)| Entry::decode(&record[1..]).unwrap().data);
    let mut real = vec![0];
    for batch in batches.filter(|batch| !batch.is_empty()) {
        if real.len() + batch.len() < 12 << 10 {
            put_record(&mut real, state::kind::BATCH, &batch);
        }
    }
    keep("state", "real", &real);
}

/// Commands made by hand.
fn keep_histories() {
    let whole = |first: u8, batches: Vec<Batch>| {
        let mut input = vec![first];
        batches.iter().for_each(|batch| put_record(&mut input, state::kind::BATCH, &batch.encode_to_vec()));
        input
    };
    for (at, batch) in history::cluster().into_iter().enumerate() {
        keep("state", &format!("again-{at:02}"), &whole(1, vec![batch]));
    }
    keep("state", "history", &whole(0, history::cluster()));
    keep("state", "rebuild", &whole(0, history::rebuild()));
    keep("state", "import", &whole(1, history::import()));
    keep("state", "upkeep", &whole(1, history::upkeep()));
    let mut asked = vec![1];
    let locate = LocateRequest { path: "/docs/moved".into(), rights: 3, ..LocateRequest::default() };
    put_record(&mut asked, state::kind::LOCATE, &locate.encode_to_vec());
    let list = ListRequest { path: "/".into(), after: "a".into(), limit: 2, ..ListRequest::default() };
    put_record(&mut asked, state::kind::LIST, &list.encode_to_vec());
    let prepared = Prepared { session: vec![3; 16], folder: 1, name: "file".into(), ..Prepared::default() };
    let resolve =
        ResolveRequest { server: "ss1".into(), sessions: vec![prepared], ..ResolveRequest::default() };
    put_record(&mut asked, state::kind::RESOLVE, &resolve.encode_to_vec());
    keep("state", "asked", &asked);
}

fn keep_by_hand() {
    for (at, (_, signed)) in capability::signed().into_iter().enumerate() {
        keep("capability", &format!("signed-{at}"), &[&[0], &signed.encode_to_vec()[..]].concat());
    }
    let ticket = Ticket { user: "ann".into(), expires_ms: 7, nonce: vec![1; 16], server: "ss1".into() };
    keep("capability", "ticket", &[&[1], &ticket.encode_to_vec()[..]].concat());
    for (name, text) in [
        ("path", "/docs/inner/../näme with a\ttab/.//"),
        ("given", "./a/./b/."),
        ("pattern", "docs/**/[!a-c]?*\\*.txt\n/docs/x/y/dx.txt"),
        ("composed", "e\u{301}*\n/\u{e9}t\u{e9}"),
        ("version", "3.14"),
        ("key", "00000000000dbba00000000000000001-7-1"),
        ("key-file", "admin k1 000102030405060708090a0b0c0d0e0f"),
        ("secret", "000102030405060708090a0b0c0d0e0f\n"),
        ("options", "nm = \"127.0.0.1:7400\"\nfast = true\n"),
        ("options-list", "nm = [\"a:1\", \"b:2\"]\n"),
    ] {
        keep("text", name, text.as_bytes());
    }
    let import = "format = 1\ndone = 3\nafter = \"/a\"\nfiles = 1\nfolders = 1\nlinks = 1\nbytes = 9\nskipped = 0\n\n\
                  [[doubtful]]\nnumber = 4\npath = \"/b\"\nsession = \"00ff\"\n";
    let of = "format = 1\nfolder = \"/srv\"\nplace = \"/srv\"\nended = false\n";
    let scrub = "format = 1\nverified_ms = 7\nbad = [1, 2]\n\n[round]\nstarted_ms = 5\nfile = 3\nnumber = 1\nchunk = 0\nbytes = 9\nbad = []\n";
    for (which, name, text) in [(1, "import", import), (2, "import-of", of), (3, "scrub", scrub)] {
        let sum = format!("crc64 = \"{:016x}\"\n", crc64(text.as_bytes()));
        keep("small_file", name, &[&[which], text.as_bytes(), sum.as_bytes()].concat());
        keep("small_file", &format!("{name}-unsummed"), &[&[which | 4], text.as_bytes()].concat());
    }
    let mut content = vec![0, 1];
    content.extend_from_slice(&[7; 53]);
    keep("index_entry", "content", &content);
    for location in [0, 1] {
        let mut chunk = vec![1, 2, 0, 0, 0, 0, 0, 1, 0, location];
        chunk.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0]);
        chunk.extend_from_slice(&[9; 16]);
        keep("index_entry", &format!("chunk-{location}"), &chunk);
    }
    keep_edits();
    keep_raft();
    keep_histories();
}

/// A log that was cut back and purged, as a group of several would leave it.
fn keep_raft() {
    use Value::{Bytes, Varint};
    let framed = |fields: &[Field]| [&[1], &message(fields)[..]].concat();
    let id = |index| vec![(1, Varint(2)), (2, Varint(1)), (3, Varint(index))];
    let within = |fields: &[Field]| Bytes(message(fields));
    let vote = [(1, Varint(2)), (2, Varint(1)), (3, Varint(1))];
    let entry = |index| framed(&[(1, within(&id(index))), (3, Bytes(b"commands".to_vec()))]);
    let cut = [(1, Varint(7)), (2, Varint(300))];
    let voters = within(&[(1, Bytes(vec![1, 2]))]);
    let node = within(&[(1, Varint(1)), (2, Bytes(b"a:1".to_vec()))]);
    let members = [(1, within(&id(3))), (2, voters), (3, node)];
    let head = [(1, within(&vote)), (2, within(&id(4))), (3, within(&id(6))), (4, within(&cut))];
    let changed = framed(&[(1, within(&id(7))), (2, within(&members[1..]))]);
    let records = [
        (6, framed(&head)),
        (2, framed(&vote)),
        (1, entry(5)),
        (1, entry(6)),
        (1, entry(7)),
        (3, framed(&cut)),
        (1, changed),
        (5, framed(&id(6))),
        (4, framed(&id(5))),
    ];
    let mut log = Vec::new();
    for (at, (kind, record)) in records.iter().enumerate() {
        put_record(&mut log, *kind, record);
        keep("raft_record", &format!("by-hand-{at}"), &[&[*kind], &record[..]].concat());
    }
    keep("raft_log", "by-hand", &log);
    keep("raft_record", "membership", &[&[0], &framed(&members)[..]].concat());
}

/// Edits of the good log, each alone and some together; and segments that are nearly good.
fn keep_edits() {
    let edit = |op: u8, file: u8, at: u16, more: &[u8]| [&[op, file], &at.to_le_bytes()[..], more].concat();
    let mut noise = Vec::new();
    put_piece(&mut noise, b"noise that nobody wrote");
    let edits = [
        edit(0, 0, 4130, &[1]),
        edit(0, 1, 20, &[1]),
        edit(1, 2, 5000, &noise),
        edit(2, 2, 4500, &1000u16.to_le_bytes()),
        edit(3, 2, 6000, &[]),
        edit(4, 3, 0, &[]),
        edit(5, 1, 5000, &[2, 0, 0x10, 0, 4]),
        edit(6, 1, 2, &[]),
        edit(7, 0, 0, &[0, 1, 9]),
    ];
    for (at, edit) in edits.iter().enumerate() {
        keep("log_damage", &format!("edit-{at}"), edit);
    }
    keep("log_damage", "several", &edits.concat());
    let record = |kind: u8, synced: u64, bytes: &[u8]| {
        let mut out = vec![kind];
        out.extend_from_slice(&synced.to_le_bytes());
        put_piece(&mut out, bytes);
        out
    };
    let plain = [&[0, 0, 2][..], &record(1, 0, b"one"), &record(240, 0, b"")].concat();
    keep("log_segment", "plain", &plain);
    let two = [&[1, 0, 1][..], &record(1, 0, b"one"), &[0, 1], &record(2, 1 << 33, b"two")].concat();
    keep("log_segment", "two", &two);
    let list = [1u32, 1, 0, 3, u32::MAX, 0].map(u32::to_le_bytes).concat();
    let strange = [&[0, 1 << 5, 2][..], &record(241, 0, &list), &record(1, u64::MAX, b"")].concat();
    keep("log_segment", "list", &strange);
}

#[test]
#[ignore = "makes the corpus anew"]
fn real_inputs() {
    let wires = tempdir();
    let hosts = record(wires.as_path());
    keep_messages(&wires);
    keep_handshakes(&wires);
    let mut hosts = hosts;
    ["ss1", "ss1_backup", "nm"].into_iter().for_each(|name| hosts.kill9(name));
    keep_disks(&hosts);
    std::fs::remove_dir_all(wires).unwrap();
}

#[test]
#[ignore = "makes the corpus anew"]
fn inputs_by_hand() {
    keep_by_hand();
}

fn tempdir() -> std::path::PathBuf {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wires");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
