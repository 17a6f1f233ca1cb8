//! Whatever bytes come from a port or a disk: one function for each reader of them, that must end soon, take little
//! memory and not panic, and that looks at more than that where there is more to look at.
//!
//! | room | targets |
//! |---|---|
//! | [`targets`] | the functions |
//! | [`input`] | how a target takes several things out of one input |
//! | [`history`] | commands as a cluster has them |
//! | [`mutate`] | other inputs from those that are kept |
//! | [`numbers`] | each number of an input at its ends |
//! | [`wire`] | protocol buffers without their types |
//! | [`corpus`] | the kept inputs: real encodings, and whatever found something |
//!
//! `tests/targets.rs` runs them over the kept inputs and mutations of these, `cargo-fuzz/` under libFuzzer.

pub mod corpus;
pub mod history;
pub mod input;
pub mod mutate;
pub mod numbers;
pub mod targets;
pub mod wire;

/// How the inputs of a target are built, for mutations that leave them whole; all are mutated as bytes, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Any bytes.
    Bytes,
    /// So many bytes, then a message.
    Message(usize),
    /// So many bytes, then a record of the journal: the length of a message, the message, a tail.
    Journal(usize),
    /// So many bytes, then records ([`input::Input::records`]) with a message each behind so many bytes.
    Messages(usize, usize),
    /// Records, each one of the journal.
    Journals,
}

/// One reader of bytes under test.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of its corpus and of its fuzzer.
    pub name: &'static str,
    /// Panics if something is wrong with what the reader makes of these bytes.
    pub run: fn(&[u8]),
    /// What one run costs: rounds are divided by it.
    pub cost: u32,
    /// Inputs are not made longer than this, in bytes.
    pub longest: usize,
    /// How its inputs are built.
    pub shape: Shape,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("frame", targets::frame::run, 1, 4 << 10, Shape::Bytes),
    target("server_port", targets::port::server, 20, 4 << 10, Shape::Bytes),
    target("client_port", targets::port::client, 20, 4 << 10, Shape::Bytes),
    target("message", targets::message::run, 1, 8 << 10, Shape::Message(3)),
    target("capability", targets::capability::run, 1, 1 << 10, Shape::Message(1)),
    target("text", targets::text::run, 1, 1 << 10, Shape::Bytes),
    target("small_file", targets::file::run, 1, 4 << 10, Shape::Bytes),
    target("journal_record", targets::journal::record, 1, 4 << 10, Shape::Journal(1)),
    target("journal", targets::journal::replay, 100, 16 << 10, Shape::Journals),
    target("index_entry", targets::journal::entry, 1, 1 << 10, Shape::Bytes),
    target("log_damage", targets::log::damage, 40, 256, Shape::Bytes),
    target("log_segment", targets::log::segment, 10, 4 << 10, Shape::Bytes),
    target("raft_record", targets::raft::record, 1, 4 << 10, Shape::Message(2)),
    target("raft_log", targets::raft::replay, 4, 8 << 10, Shape::Messages(0, 1)),
    target("state", targets::state::run, 20, 16 << 10, Shape::Messages(1, 0)),
];

const fn target(name: &'static str, run: fn(&[u8]), cost: u32, longest: usize, shape: Shape) -> Target {
    Target { name, run, cost, longest, shape }
}

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("{name} is no target"))
}
