//! What was deleted stays deleted (I4).

use pairfs_tests::Cluster;
use pairfs_tests::cluster::SOON;

#[test]
fn what_was_deleted_while_a_server_was_away_stays_deleted() {
    let cluster = Cluster::start(true);
    cluster.write("/folder/gone", b"gone");
    cluster.write("/folder/kept", b"kept");
    cluster.write("/tree/deep/down/file", b"gone");
    cluster.wait_settled();
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.pairfs(&["rm", "/folder/gone"]).ok();
    cluster.pairfs(&["rm", "-r", "/tree"]).ok();
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    cluster.pairfs(&["read", "/folder/gone"]).exits(3);
    cluster.pairfs(&["ls", "/tree"]).exits(3);
    assert_eq!(cluster.read("/folder/kept"), b"kept");
    let listed = cluster.pairfs(&["ls", "/folder"]).ok().text();
    assert!(listed.contains("kept") && !listed.contains("gone"), "{listed}");
}

#[test]
fn a_name_that_was_deleted_and_made_again_is_the_new_file_on_both() {
    let cluster = Cluster::start(true);
    cluster.write("/file", b"the old one");
    let old = cluster.wait_settled();
    drop(old);
    cluster.kill9("ss1");
    cluster.wait_acting("ss1_backup", SOON);
    cluster.pairfs(&["rm", "/file"]).ok();
    cluster.write("/file", b"the new one");
    cluster.node_start("ss1");
    cluster.assert_copies_equal();
    cluster.wait_acting("ss1", SOON);
    assert_eq!(cluster.read("/file"), b"the new one");
    let versions = cluster.info("/file")["versions"].as_array().unwrap().len();
    assert_eq!(versions, 1, "the old file's history is not that of the new one");
}

#[test]
fn a_delete_is_seen_at_once_by_everyone() {
    let cluster = Cluster::start(true);
    for round in 0..10 {
        let path = format!("/file{round}");
        cluster.write(&path, b"content");
        assert_eq!(cluster.read(&path), b"content");
        cluster.pairfs(&["rm", &path]).ok();
        cluster.pairfs(&["read", &path]).exits(3);
    }
}

#[test]
fn a_folder_that_is_not_empty_is_not_removed_by_accident() {
    let cluster = Cluster::start(true);
    cluster.write("/folder/file", b"content");
    assert_ne!(cluster.pairfs(&["rm", "/folder"]).status, 0);
    assert_eq!(cluster.read("/folder/file"), b"content");
    cluster.pairfs(&["rm", "-r", "/folder"]).ok();
    cluster.pairfs(&["read", "/folder/file"]).exits(3);
}
