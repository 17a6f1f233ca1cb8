//! Requests that nobody would write, from clients that may ask: whatever a message holds, the server answers or refuses,
//! stays up, and harms nothing. What strangers may send is in `frames.rs`.
//!
//! Some thousands of requests in each run of the tests, the same ones each time; `PAIRFS_FUZZ_SEED=N` and
//! `PAIRFS_FUZZ_REQUESTS=N` draw others, and more.

use bytes::Bytes;
use fastrand::Rng;
use net::{Connection, Credential};
use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::wire::{Wire, admin, secret};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, wait::until};
use prost::Message;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;
use types::capability::right;
use types::message::purpose;

const MEMBERS: [&str; 3] = ["nm", "ss1", "ss1_backup"];
/// Methods by the numbers in docs/protocol.md, and some that are none.
const METHODS: [std::ops::RangeInclusive<u16>; 12] = [
    100..=117,
    123..=127,
    153..=157,
    200..=208,
    220..=232,
    300..=308,
    320..=323,
    330..=337,
    400..=408,
    423..=428,
    500..=506,
    543..=547,
];
/// The first so many of them are for the name manager.
const OF_THE_MANAGER: usize = 5;
/// Requests that are under way at the same time.
const AT_ONCE: usize = 32;
/// Some ask to be answered late.
const PATIENCE: Duration = Duration::from_secs(2);

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

/// A message of any fields: numbers, texts, bytes and further messages, as the wire format has them. `names` may be texts.
fn message(random: &mut Rng, names: &[Vec<u8>], depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..random.usize(0..9) {
        let field = u64::from(random.u8(1..18));
        match random.u8(0..10) {
            0..4 => {
                varint(&mut bytes, field << 3);
                varint(&mut bytes, number(random));
            }
            4 => {
                varint(&mut bytes, field << 3 | 1);
                bytes.extend_from_slice(&number(random).to_le_bytes());
            }
            5 => {
                varint(&mut bytes, field << 3 | 5);
                bytes.extend_from_slice(&random.u32(..).to_le_bytes());
            }
            _ => {
                let inner = match random.u8(0..8) {
                    0..3 => names[random.usize(0..names.len())].clone(),
                    3 => vec![random.u8(..); [0, 8, 16, 32, 33][random.usize(0..5)]],
                    4 => filled(random.u64(..), random.usize(0..300)),
                    _ if depth > 0 => message(random, names, depth - 1),
                    _ => Vec::new(),
                };
                varint(&mut bytes, field << 3 | 2);
                varint(&mut bytes, inner.len() as u64);
                bytes.extend_from_slice(&inner);
            }
        }
    }
    // Now and then it is cut off, or a byte is another one.
    match random.u8(0..12) {
        0 => bytes.truncate(random.usize(0..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = random.usize(0..bytes.len());
            bytes[at] = random.u8(..);
        }
        _ => {}
    }
    bytes
}

fn number(random: &mut Rng) -> u64 {
    match random.u8(0..6) {
        0 => 0,
        1 => 1,
        2 => random.u64(0..20),
        3 => 1 << random.u32(0..64),
        4 => u64::MAX - random.u64(0..3),
        _ => random.u64(..),
    }
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Sends so many requests; gives how often which answer came.
async fn ask(
    connection: Connection,
    seed: u64,
    requests: u64,
    methods: &[std::ops::RangeInclusive<u16>],
    names: &[Vec<u8>],
) -> BTreeMap<String, u64> {
    let mut random = Rng::with_seed(seed);
    let (mut running, mut answers) = (JoinSet::new(), BTreeMap::new());
    for _ in 0..requests {
        let numbers = &methods[random.usize(0..methods.len())];
        let method = random.u16(numbers.clone());
        let head = Bytes::from(message(&mut random, names, 3));
        let body =
            Bytes::from(if random.u8(0..4) == 0 { filled(seed, random.usize(0..5_000)) } else { Vec::new() });
        let connection = connection.clone();
        running.spawn(async move {
            let deadline = Instant::now() + PATIENCE;
            let answer = connection.call_encoded(method, "Fuzz", head, body, deadline).await;
            answer.map_or_else(|error| error.code.name().to_owned(), |_| "answered".to_owned())
        });
        if running.len() >= AT_ONCE {
            let answer = running.join_next().await.expect("one runs").expect("no panic here");
            *answers.entry(answer).or_default() += 1;
        }
    }
    while let Some(answer) = running.join_next().await {
        *answers.entry(answer.expect("no panic here")).or_default() += 1;
    }
    answers
}

fn fuzz(member: &str, connection: Connection, seed: u64, names: &[Vec<u8>]) {
    let requests = from_environment("PAIRFS_FUZZ_REQUESTS", 4_000);
    let (manager, server) = METHODS.split_at(OF_THE_MANAGER);
    let methods = if member == "nm" { manager } else { server };
    let answers = Runtime::new().unwrap().block_on(ask(connection, seed, requests, methods, names));
    eprintln!("{member}: {answers:?}");
    // A server that hangs up, or looks at nothing but the number of the method, is not tested.
    let told = |code: &str| answers.get(code).copied().unwrap_or_default();
    assert!(told("UNSUPPORTED") < requests * 3 / 4, "{member}: {answers:?}");
    assert!(told("UNAVAILABLE") + told("OUTCOME_UNKNOWN") < requests / 4, "{member}: {answers:?}");
    assert_eq!(told("INTERNAL"), 0, "{member}: {answers:?}");
}

fn as_bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn pids(cluster: &Cluster) -> Vec<rustix::process::Pid> {
    MEMBERS.iter().map(|name| cluster.pid(name)).collect()
}

/// The same processes, nothing lost, and none of them panicked.
fn assert_unharmed(cluster: &Cluster, before: &[rustix::process::Pid]) {
    assert_eq!(pids(cluster), before, "the same processes");
    for member in MEMBERS {
        let log = std::fs::read(cluster.dir().join(format!("{member}.log"))).unwrap();
        let log = String::from_utf8_lossy(&log);
        let panicked = log.lines().find(|line| line.contains("panicked"));
        assert!(panicked.is_none(), "{member}: {panicked:?}");
    }
    assert_eq!(cluster.read("/file"), b"content");
    cluster.write("/after", b"still well");
    assert_eq!(cluster.read("/after"), b"still well");
    cluster.assert_copies_equal();
}

#[test]
fn any_request_of_a_client_is_answered_or_refused() {
    let seed = from_environment("PAIRFS_FUZZ_SEED", 1);
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    let before = pids(&cluster);
    let wire = Wire::open(&cluster);
    let runtime = Runtime::new().unwrap();
    // What exists is named only where nothing can be done to it: an admin may remove files and switch servers over.
    let mut names =
        as_bytes(&["", "/", "/fuzz", "/fuzz/inner", "fuzz", "..", "/../file", "a\0b", "ss9", "admin"]);
    // Whoever may write gets further than others.
    let located = wire.locate("/fuzz", right::ALL).unwrap();
    names.extend([located.capability.unwrap().encode_to_vec(), vec![7; 16]]);
    let addr = cluster.addr("nm");
    let nm = Connection::open(&addr, admin(&cluster), None, purpose::DATA);
    fuzz("nm", runtime.block_on(nm).unwrap(), seed, &names);
    for member in ["ss1", "ss1_backup"] {
        fuzz(member, wire.to_server(member).unwrap(), seed + 1, &names);
    }
    assert_unharmed(&cluster, &before);
    assert_eq!(pair(&cluster.status())["epoch"], 1, "nobody was failed over");
}

#[test]
fn any_request_of_one_who_has_the_clusters_secret_leaves_everybody_alive() {
    let seed = from_environment("PAIRFS_FUZZ_SEED", 1);
    let cluster = Cluster::start(true);
    cluster.write("/file", b"content");
    cluster.wait_settled();
    let before = pids(&cluster);
    let runtime = Runtime::new().unwrap();
    let names = as_bytes(&["", "/", "/fuzz", "fuzz", "ss9", "ss9_backup", "127.0.0.1:1", "nm"]);
    for member in MEMBERS {
        // Who may ask the most there.
        let name = if member == "nm" { "ss9" } else { "nm" };
        let credential = Credential::Node { name: name.to_owned(), secret: secret(&cluster) };
        let addr = cluster.addr(member);
        let connection = Connection::open(&addr, credential, None, purpose::DATA);
        fuzz(member, runtime.block_on(connection).unwrap(), seed + 2, &names);
    }
    until(LATER, "the file to be read", || cluster.pairfs(&["read", "/file", "--timeout", "5"]).status == 0);
    assert_unharmed(&cluster, &before);
}
