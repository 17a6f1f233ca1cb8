//! What no version names any more takes no room (R32), also when servers are killed meanwhile.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{LATER, SOON, server};

const FILE: u64 = 6 << 20;
/// The journal's one segment.
const JOURNAL: u64 = 16 << 20;

fn content(n: u8) -> Vec<u8> {
    (0..FILE as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8 ^ n).collect()
}

#[test]
fn room_of_what_was_removed_for_good_is_free_again_on_both_members() {
    let cluster = Cluster::start(true);
    let used =
        |status: &serde_json::Value, name: &str| server(status, name)["used_bytes"].as_u64().unwrap_or(0);
    cluster.write("/kept", &content(1));
    for n in 2..6 {
        cluster.write(&format!("/gone{n}"), &content(n));
    }
    cluster.wait(SOON, "both to hold all", |status| {
        ["ss1", "ss1_backup"].iter().all(|name| used(status, name) >= 5 * FILE + JOURNAL)
    });
    // One member sleeps through it, the other is killed while it collects.
    cluster.kill9("ss1_backup");
    for n in 2..6 {
        cluster.pairfs(&["rm", &format!("/gone{n}"), "--now"]).ok();
    }
    cluster.kill9("ss1");
    cluster.node_start("ss1");
    cluster.node_start("ss1_backup");
    cluster.wait_settled();
    cluster.wait(LATER, "the room to be free", |status| {
        ["ss1", "ss1_backup"].iter().all(|name| (1..=FILE + JOURNAL).contains(&used(status, name)))
    });
    assert!(cluster.read("/kept") == content(1));
    cluster.write("/new", &content(9));
    cluster.assert_copies_equal();
    cluster.switch_over();
    assert!(cluster.read("/kept") == content(1) && cluster.read("/new") == content(9));
}
