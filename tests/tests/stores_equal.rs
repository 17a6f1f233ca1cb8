//! The two stores of a pair, opened after they were stopped, hold the same records and the same bytes.

use log::RealDisk;
use pairfs_tests::Cluster;
use pairfs_tests::workload::filled;
use ss::store::{Store, StoreConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use types::content::sha256;
use types::ids::SessionId;
use types::limits::PIECE;
use types::record::Record;

/// What a store holds of one version: size, digest of the content as it is read back from the disk.
type Held = (u64, [u8; 32]);

/// Records by id, and the contents of all their versions by file and session.
type Inventory = (BTreeMap<u64, Record>, BTreeMap<(u64, Vec<u8>), Held>);

fn inventory(folder: &Path) -> Inventory {
    assert!(folder.join("journal").is_dir(), "{} holds a store", folder.display());
    let disk = Arc::new(RealDisk::new(folder.to_owned()).unwrap());
    let store = Store::open_read_only(disk, StoreConfig::default()).unwrap();
    let (mut records, mut contents) = (BTreeMap::new(), BTreeMap::new());
    let mut after = 0;
    loop {
        let page = store.records_after(after, 100).unwrap();
        let Some(last) = page.last() else { return (records, contents) };
        after = last.id;
        for record in page {
            for version in record.versions.iter().filter(|version| version.size > 0) {
                let session = SessionId::from_slice(&version.session).unwrap();
                let held = store.lookup(session).unwrap().expect("a kept version is held");
                let mut bytes = Vec::new();
                while (bytes.len() as u64) < held.manifest.size {
                    let (piece, _) = store.read(&held.manifest, bytes.len() as u64, PIECE as u32).unwrap();
                    bytes.extend_from_slice(&piece);
                }
                contents.insert((record.id, version.session.clone()), (version.size, sha256(&bytes)));
            }
            records.insert(record.id, Record::clone(&record));
        }
    }
}

#[test]
fn a_stopped_pair_holds_equal_records_and_equal_bytes() {
    let cluster = Cluster::start(true);
    cluster.pairfs(&["mkdir", "-p", "/a/b"]).ok();
    cluster.pairfs(&["create", "/a/empty"]).ok();
    cluster.write("/a/small", b"one");
    cluster.write("/a/small", b"two");
    cluster.write("/a/b/medium", &filled(1, 100_000));
    cluster.write("/a/b/large", &filled(2, 9_000_000));
    cluster.pairfs(&["mv", "/a/small", "/a/b/moved"]).ok();
    cluster.write("/gone", b"removed");
    cluster.pairfs(&["rm", "/gone"]).ok();
    // Also what came while one of them was away.
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.write("/meanwhile", &filled(3, 70_000));
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    let up = cluster.take_up();
    cluster.pairfs(&["down"]).ok();
    up.end().ok();

    let first = inventory(&cluster.dir().join("ss1/store"));
    let second = inventory(&cluster.dir().join("ss1_backup/store"));
    assert_eq!(first.0, second.0, "records");
    assert_eq!(first.1, second.1, "contents");
    let files = first.0.values().filter(|record| record.is_file() && record.trashed.is_none()).count();
    assert_eq!((files, first.1.len()), (5, 6), "all that was written is there");
}
