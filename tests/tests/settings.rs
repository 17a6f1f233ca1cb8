//! `pairfs config show`: how the servers are set, and where each setting came from.

use pairfs_tests::cluster::{LATER, pair};
use pairfs_tests::hosts::Hosts;
use pairfs_tests::until;
use serde_json::{Value, json};
use std::fs;

/// What is shown of a server's setting: value and origin.
fn shown(rows: &[Value], server: &str, name: &str) -> (Value, Value) {
    let row = rows.iter().find(|row| row["server"] == server && row["name"] == name);
    let row = row.unwrap_or_else(|| panic!("{name} of {server} is not shown: {rows:?}"));
    (row["value"].clone(), row["origin"].clone())
}

#[test]
fn config_show_tells_what_holds_on_every_server_and_where_it_came_from_and_no_secret() {
    let mut hosts = Hosts::on_loopback();
    let file = hosts.folder(0).join("nm.toml");
    let path = file.to_str().unwrap().to_owned();
    fs::write(&file, "failback = 'manual'\nrelay = 'never'\n").unwrap();
    hosts.serve_nm(&["--config", &path]);
    let addrs = [hosts.addr(1), hosts.addr(1)];
    hosts.serve_ss(1, "ss1", &addrs[0], &["--log-level", "debug"]);
    hosts.serve_ss(1, "ss1_backup", &addrs[1], &[]);
    hosts.wait("the pair", |status| pair(status)["state"] == "active");
    let show = |hosts: &Hosts| hosts.pairfs(&["--json", "config", "show"]).ok().json_lines();

    let rows = show(&hosts);
    let from_file = json!(format!("file {path}"));
    assert_eq!(shown(&rows, "nm", "failback"), (json!("manual"), from_file.clone()));
    assert_eq!(shown(&rows, "nm", "fast"), (json!("true"), json!("--fast")));
    assert_eq!(shown(&rows, "nm", "fast-failover"), (json!("on"), json!("default")));
    assert_eq!(shown(&rows, "nm", "advertise"), (json!(hosts.nm_addr()), json!("--advertise")));
    assert_eq!(shown(&rows, "ss1", "log-level"), (json!("debug"), json!("--log-level")));
    assert_eq!(shown(&rows, "ss1_backup", "log-level"), (Value::Null, json!("default")));
    assert_eq!(shown(&rows, "ss1_backup", "advertise").0, json!(addrs[1]));
    assert_eq!(shown(&rows, "ss1", "nm").0, json!(hosts.nm_addr()));
    // The client's own come first, as ever.
    assert_eq!(
        (&rows[0]["server"], &rows[0]["name"], &rows[0]["origin"]),
        (&json!(null), &json!("nm"), &json!("--nm"))
    );
    // Where secrets are, not what they are.
    let told = format!("{rows:?}") + &hosts.pairfs(&["config", "show"]).ok().text();
    let key = fs::read_to_string(hosts.folder(0).join("nm/admin.key")).unwrap();
    let secret = fs::read(hosts.folder(0).join("nm/cluster.secret")).unwrap();
    assert!(!told.contains(key.split_whitespace().last().unwrap()));
    assert!(!told.contains(String::from_utf8_lossy(&secret).trim()));
    assert!(told.contains("cluster.secret"));

    // What is taken anew is shown anew; what needs a restart stays as it is.
    fs::write(&file, "failback = 'manual'\nrelay = 'always'\nlog-file-kib = 77\n").unwrap();
    hosts.reload("nm");
    until(LATER, "the new value", || {
        shown(&show(&hosts), "nm", "relay") == (json!("always"), from_file.clone())
    });
    assert_eq!(shown(&show(&hosts), "nm", "log-file-kib").1, json!("default"));

    // A server that is away is named; without a name manager the client's own are shown all the same.
    hosts.kill9("ss1_backup");
    hosts.wait("it to be missed", |status| pair(status)["state"] == "degraded");
    let said = hosts.pairfs(&["--json", "config", "show"]).ok();
    assert!(said.stderr.contains("ss1_backup"), "{}", said.stderr);
    shown(&said.json_lines(), "ss1", "name");
    hosts.kill9("nm");
    let said = hosts.pairfs(&["--json", "--timeout", "1s", "config", "show"]).ok();
    assert!(said.stderr.contains("not shown"), "{}", said.stderr);
    assert!(said.json_lines().iter().all(|row| row["server"].is_null()));
}
