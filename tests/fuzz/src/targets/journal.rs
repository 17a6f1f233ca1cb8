//! The journal of a storage server and its index.

use super::assert_stable;
use crate::input::Input;
use ::log::sim::SimDisk;
use ::log::{Log, LogConfig, MAX_OWNER_KIND, Position};
use ss::formats;
use ss::store::{Store, StoreConfig};
use std::sync::Arc;
use types::content::crc64;

/// Small: it is made anew for each input.
const SEGMENT: u32 = 64 << 10;

/// One record: its kind, then its bytes.
pub fn record(data: &[u8]) {
    let mut input = Input(data);
    let kind = input.byte();
    assert_stable(input.rest(), |bytes| formats::journal_record(kind, bytes));
}

/// An entry of the index: the first byte says whether of a content or of a chunk.
pub fn entry(data: &[u8]) {
    let mut input = Input(data);
    let chunk = input.byte() & 1 == 1;
    let bytes = input.rest();
    let reread = if chunk { formats::chunk_entry } else { formats::content_entry };
    assert_stable(bytes, reread);
    if let Ok(again) = reread(bytes) {
        assert_eq!(again, bytes, "an entry has one form");
    }
}

/// A journal of any records, each of which checks: the store is opened on it, and read.
pub fn replay(data: &[u8]) {
    let disk = SimDisk::new();
    write(&disk, &Input(data).records());
    let config = StoreConfig {
        segment_bytes: SEGMENT,
        background_fill: false,
        index_cache_bytes: 1 << 20,
        cache_bytes: 1 << 20,
        ..StoreConfig::default()
    };
    let Ok(store) = Store::open_read_only(Arc::new(disk), config) else { return };
    look_at(&store);
}

fn write(disk: &SimDisk, records: &[(u8, Vec<u8>)]) {
    let config = LogConfig {
        folder: StoreConfig::default().journal_folder,
        segment_bytes: SEGMENT,
        spare_segments: 0,
        background_fill: false,
        ..LogConfig::default()
    };
    let mut log = Log::open(Arc::new(disk.clone()), config, Position::default(), &mut |_| Ok(()))
        .expect("an empty disk takes a log");
    for (kind, payload) in records {
        log.append((*kind).min(MAX_OWNER_KIND), &[payload]).expect("a short record is taken");
    }
    log.sync().expect("it can be synced");
}

/// Everything that can be asked of a store.
fn look_at(store: &Store) {
    const MANY: usize = 1000;
    let _ = (store.newest_row(), store.cursors(), store.prepared(), store.open_again());
    let _ = (store.forgotten(0), store.forgotten(1), store.control_after(0, "", MANY));
    let _ = (store.prepared_after(Position(0), MANY), store.used_bytes(), store.free_bytes());
    for record in store.records_after(0, MANY).unwrap_or_default() {
        let found = store.record(record.id).expect("a listed record can be read");
        assert_eq!(found.as_deref(), Some(&*record), "the list says something else than the record");
    }
    for held in store.contents_after(None, MANY).unwrap_or_default() {
        let _ = (store.is_decided(held.session), held.manifest.digest());
        // The right CRC-64, or an error.
        for (offset, len) in
            [(0, u32::MAX >> 8), (1, 70_000), (u64::MAX, 1), (held.manifest.size / 2, u32::MAX >> 8)]
        {
            if let Ok((bytes, crc)) = store.read(&held.manifest, offset, len) {
                assert_eq!(crc, crc64(&bytes), "bytes that do not check");
            }
        }
        let _ = store.verify(held.session);
    }
}
