//! The state machine of the name manager: any commands, in any order, and questions about what they made.

use crate::history;
use crate::input::Input;
use nm_core::apply::apply;
use nm_core::keys;
use nm_core::memory::MemoryStore;
use nm_core::query;
use nm_core::state::State;
use nm_core::store::{Store, Table};
use prost::Message;
use std::sync::OnceLock;
use types::command::{BATCH_FORMAT, Batch};
use types::message::manager::{ListRequest, LocateRequest};
use types::message::member::ResolveRequest;
use types::record::Record;

/// Kinds of what stands in an input.
pub mod kind {
    /// A batch of commands.
    pub const BATCH: u8 = 0;
    /// A look-up.
    pub const LOCATE: u8 = 1;
    /// A listing.
    pub const LIST: u8 = 2;
    /// What became of prepared sessions.
    pub const RESOLVE: u8 = 3;
}

/// Log entries are applied from here on.
const FIRST: u64 = 100;

/// With an odd first byte, what follows is done to a cluster with a pair and some files; else from nothing.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let mut store = if input.byte() & 1 == 1 { base().clone() } else { MemoryStore::default() };
    for (at, (kind, bytes)) in input.records().into_iter().enumerate() {
        match kind % 4 {
            kind::BATCH => batch(&mut store, FIRST + at as u64, &bytes),
            kind => ask(&store, kind, &bytes),
        }
    }
    assert_whole(&store);
}

fn batch(store: &mut MemoryStore, index: u64, bytes: &[u8]) {
    let Ok(batch) = Batch::decode(bytes) else { return };
    let mut twin = store.clone();
    let answers = apply(store, index, &batch);
    assert_eq!(apply(&mut twin, index, &batch), answers, "two name managers answer differently");
    assert_eq!(twin, *store, "two name managers differ");
    // Whatever a command says, it is refused, and the name manager goes on.
    if batch.format == BATCH_FORMAT {
        let answers = answers.expect("no command stops the name manager").answers;
        assert_eq!(answers.len(), batch.commands.len());
    }
}

fn ask(store: &MemoryStore, kind: u8, bytes: &[u8]) {
    match kind {
        kind::LOCATE => {
            let Ok(request) = LocateRequest::decode(bytes) else { return };
            let _ = query::locate(store, "admin", &request);
        }
        kind::LIST => {
            let Ok(request) = ListRequest::decode(bytes) else { return };
            if let Ok(reply) = query::list(store, "admin", &request) {
                assert!(reply.encoded_len() <= types::limits::FRAME_HEAD_MAX, "a page does not fit a frame");
            }
        }
        _ => {
            let Ok(request) = ResolveRequest::decode(bytes) else { return };
            let _ = query::resolutions(store, 1, request.cursor, &request.sessions);
        }
    }
}

/// Every name leads to what is called so, and the records can be read.
fn assert_whole(store: &MemoryStore) {
    let state = State::new(store);
    state.counters().expect("the counters can be read");
    state.cluster().expect("the cluster can be read");
    state.pairs().expect("pairs can be read");
    state.servers().expect("servers can be read");
    let mut names = Vec::new();
    let mut visit = |key: &[u8], id: &[u8]| {
        names.push((key.to_vec(), u64::from_be_bytes(id.try_into().expect("an inode's number"))));
        true
    };
    store.scan(Table::Names, &[], &[], &mut visit).expect("memory can be read");
    // While a rebuild is under way records have not taken their places.
    if state.is_rebuilding().expect("memory can be read") {
        return;
    }
    for (key, id) in names {
        let record: Record =
            state.inode(id).expect("a record can be read").expect("a name leads to a record");
        assert_eq!(keys::name_of(&record), key, "a name leads to what has another name: {record:?}");
        assert!(!record.is_tombstone(), "a name leads to what is gone");
        if record.is_folder() {
            state.ancestors(&record).expect("the way to the root ends");
        }
    }
    let root = ListRequest { path: "/".into(), ..ListRequest::default() };
    let _ = query::list(store, "admin", &root);
}

/// What [`history::cluster`] makes.
pub fn base() -> &'static MemoryStore {
    static BASE: OnceLock<MemoryStore> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut store = MemoryStore::default();
        for (at, batch) in history::cluster().into_iter().enumerate() {
            for answer in apply(&mut store, at as u64 + 1, &batch).expect("it is applied").answers {
                answer.into_result().expect("an honest command is done");
            }
        }
        store
    })
}
