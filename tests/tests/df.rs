//! `df` and `doctor`: what there is, and what is wrong with it.

use pairfs_tests::Cluster;
use pairfs_tests::cluster::{SOON, pair};
use pairfs_tests::workload::filled;
use std::os::unix::fs::PermissionsExt;

#[test]
fn df_tells_what_is_logical_physical_shared_and_free() {
    let cluster = Cluster::start(true);
    const LARGE: usize = 8 << 20;
    cluster.write("/large", &filled(1, LARGE));
    cluster.pairfs(&["cp", "/large", "/copy"]).ok();
    cluster.write("/small", b"first");
    cluster.write("/small", b"second");
    cluster.write("/gone", &filled(2, 1000));
    cluster.pairfs(&["rm", "/gone"]).ok();
    cluster.wait_settled();
    let df = cluster.pairfs(&["--json", "df"]).ok().json();
    let pair = &df["pairs"][0];
    assert_eq!((df["files"].as_u64(), pair["pair"].as_str()), (Some(3), Some("ss1")));
    assert_eq!(df["logical_bytes"], 2 * LARGE + 6);
    assert_eq!(df["history_bytes"], 5);
    assert_eq!(df["trash_bytes"], 1000);
    assert_eq!(df["shared_bytes"], LARGE);
    assert!(df["physical_bytes"].as_u64().unwrap() >= 2 * LARGE as u64, "on both members: {df}");
    assert!(pair["free_bytes"].as_u64().unwrap() > 0);
    let text = cluster.pairfs(&["df"]).ok().text();
    assert!(text.starts_with("PAIR") && text.contains("ss1") && text.contains("16.0 MiB"), "{text}");
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let cluster = Cluster::start(true);
    let well = cluster.pairfs(&["doctor"]);
    if well.status == 0 {
        assert!(well.text().lines().all(|line| line.starts_with("ok ")), "{}", well.text());
    }
    // This machine may have little room or few open files: only what is done here is compared.
    let wrong = |words: &[&str]| {
        let ran = cluster.pairfs(&[&["--json", "doctor"], words].concat());
        let wrong = ran.json_lines().into_iter().filter(|check| check["state"] == "wrong");
        let wrong: Vec<String> = wrong.map(|check| format!("{} {}", check["found"], check["fix"])).collect();
        assert_eq!(ran.status, i32::from(!wrong.is_empty()), "{wrong:?}");
        wrong
    };
    let before = wrong(&[]);
    assert!(!before.iter().any(|line| line.contains("ss1")), "{before:?}");

    let data = cluster.dir().join("ss1");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(wrong(&[]).iter().any(|line| line.contains("0755") && line.contains("chmod")));
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();

    cluster.kill9("ss1_backup");
    cluster.wait(SOON, "the pair to be degraded", |status| pair(status)["state"] == "degraded");
    let lines = wrong(&[]);
    assert!(lines.iter().any(|line| line.contains("pairfs node start ss1_backup")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("ss1 is degraded")), "{lines:?}");
    cluster.node_start("ss1_backup");
    cluster.assert_copies_equal();

    cluster.kill9("nm");
    let lines = wrong(&["--timeout", "1"]);
    assert!(lines.iter().any(|line| line.contains("no name manager answers")), "{lines:?}");
}
