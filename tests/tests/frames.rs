//! Strangers at the ports: rubbish, wrong secrets, wrong clusters, forged rights. The clear error, nothing
//! lost, the server still up.

use bytes::Bytes;
use net::Credential;
use net::frame::{Frame, HEADER, Kind, MAGIC, VERSION};
use pairfs_tests::by_hand::Conditions;
use pairfs_tests::wire::{Wire, admin, connect, forge, secret, send_raw};
use pairfs_tests::workload::filled;
use pairfs_tests::{Cluster, command, until};
use std::time::Duration;
use types::Code;
use types::capability::right;
use types::message::manager::{Locate, LocateRequest};

const MEMBERS: [&str; 3] = ["nm", "ss1", "ss1_backup"];

/// Nobody died, nobody was replaced, the file is there and can be written.
fn assert_unharmed(cluster: &Cluster, pids: &[rustix::process::Pid]) {
    let now: Vec<_> = MEMBERS.iter().map(|name| cluster.pid(name)).collect();
    assert_eq!(now, pids, "the same processes");
    assert_eq!(cluster.read("/file"), b"content");
    cluster.write("/after", b"still well");
    let status = cluster.wait_settled();
    assert_eq!(status["pairs"][0]["epoch"], 1, "{status}");
}

fn well(cluster: &Cluster) -> Vec<rustix::process::Pid> {
    cluster.write("/file", b"content");
    MEMBERS.iter().map(|name| cluster.pid(name)).collect()
}

fn wire_bytes(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.head, &frame.body].concat()
}

#[test]
fn random_bytes_at_every_port_harm_nobody() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    for member in MEMBERS {
        let addr = cluster.addr(member);
        for seed in 0..40 {
            let mut bytes = filled(seed, 64 + usize::try_from(seed).unwrap() * 97);
            if seed % 2 == 0 {
                // Some that look honest at first.
                bytes[..3].copy_from_slice(&[MAGIC[0], MAGIC[1], VERSION]);
            }
            send_raw(&addr, &bytes, true);
        }
        let (hung_up, _) = send_raw(&addr, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", false);
        assert!(hung_up, "{member} keeps talking to a browser");
    }
    assert_unharmed(&cluster, &pids);
}

#[test]
fn truncated_and_oversized_frames_are_refused_without_waiting_for_their_rest() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    let honest = wire_bytes(&Frame::new(Kind::Hello, 0, 0, Bytes::from(filled(1, 200)), Bytes::new()));
    for member in MEMBERS {
        let addr = cluster.addr(member);
        for length in [0, 1, HEADER - 1, HEADER, HEADER + 50] {
            send_raw(&addr, &honest[..length], true);
        }
        for (head, body) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (1 << 20, 0), (0, 64 << 20)]
        {
            let mut bytes = honest.clone();
            bytes[16..20].copy_from_slice(&head.to_le_bytes());
            bytes[20..24].copy_from_slice(&body.to_le_bytes());
            let (hung_up, _) = send_raw(&addr, &bytes, false);
            assert!(hung_up, "{member} waits for {head} and {body} bytes from a stranger");
        }
        // A request before the handshake.
        let request = Frame::new(Kind::Request, 101, 1, Bytes::from_static(b"\x0a\x01/"), Bytes::new());
        let (hung_up, _) = send_raw(&addr, &wire_bytes(&request), false);
        assert!(hung_up, "{member} lets strangers ask");
    }
    assert_unharmed(&cluster, &pids);
}

#[test]
fn a_stranger_who_says_nothing_is_not_waited_for() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    for member in MEMBERS {
        let (hung_up, _) = send_raw(&cluster.addr(member), b"", false);
        assert!(hung_up, "{member} waits for ever");
    }
    assert_unharmed(&cluster, &pids);
}

#[test]
fn a_wrong_secret_a_wrong_key_and_a_wrong_cluster_are_refused_with_their_reason() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    let node = |secret: Vec<u8>| Credential::Node { name: "ss1".to_owned(), secret };
    for member in MEMBERS {
        let addr = cluster.addr(member);
        assert_eq!(connect(&addr, node(vec![7; 32]), None).unwrap_err().code, Code::BadProof, "{member}");
        let known = connect(&addr, node(secret(&cluster)), Some([9; 16])).unwrap_err();
        assert_eq!(known.code, Code::WrongCluster, "{member}");
        connect(&addr, node(secret(&cluster)), None).expect("the right secret is accepted");
        let ticket = Credential::Ticket { ticket: Bytes::from(filled(1, 80)), key: vec![1; 32] };
        let refused = connect(&addr, ticket, None).unwrap_err().code;
        assert!(
            matches!(refused, Code::BadCapability | Code::BadProof | Code::Denied),
            "{member}: {refused:?}"
        );
    }
    let nm = cluster.addr("nm");
    let Credential::User { name, key_id, mut key } = admin(&cluster) else { panic!("a user's key") };
    key[0] ^= 1;
    let wrong_key = Credential::User { name, key_id: key_id.clone(), key };
    let nobody = Credential::User { name: "nobody".to_owned(), key_id, key: vec![1; 32] };
    let wrong_key = connect(&nm, wrong_key, None).unwrap_err();
    let nobody = connect(&nm, nobody, None).unwrap_err();
    assert_eq!(wrong_key.code, Code::BadProof);
    assert_eq!(wrong_key, nobody, "an unknown user cannot be told from a wrong key");
    assert_unharmed(&cluster, &pids);
}

#[test]
fn a_server_with_another_clusters_secret_does_not_join() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    let other = cluster.desk().join("other.secret");
    net::secret::write(&other, &[5; 32]).unwrap();
    let data = cluster.desk().join("stranger");
    let nm = cluster.addr("nm");
    let words =
        ["ss", "--name", "ss9", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0", "--nm", &nm];
    let mut stranger =
        command::command(None, &[&words[..], &["--cluster-secret", other.to_str().unwrap()]].concat());
    stranger.current_dir(cluster.desk());
    let mut stranger = command::start(stranger);
    let pid = rustix::process::Pid::from_raw(i32::try_from(stranger.pid()).unwrap()).unwrap();
    // It may go on trying or give up; it does not get in.
    std::thread::sleep(Duration::from_secs(2));
    let status = cluster.status();
    assert!(pairfs_tests::cluster::server(&status, "ss9").is_null(), "{status}");
    if stranger.runs() {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let said = stranger.end();
    let text = format!("{}{}", said.text(), said.stderr);
    assert!(text.contains("BAD_PROOF") || text.contains("proof"), "it says why: {text}");
    assert_unharmed(&cluster, &pids);
}

#[test]
fn a_forged_or_missing_capability_opens_nothing() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    cluster.write("/secret/file", b"not for you");
    let wire = Wire::open(&cluster);
    let server = wire.to_server("ss1").unwrap();
    let honest = wire.locate("/file", right::READ).unwrap();
    wire.read(&server, &honest).expect("an honest one is accepted");

    // For another folder.
    let mut other = wire.locate("/secret/file", right::READ).unwrap();
    other.capability.clone_from(&honest.capability);
    assert_eq!(wire.read(&server, &other).unwrap_err().code, Code::BadCapability);

    let capability = honest.capability.clone().unwrap();
    let forgeries = [
        forge(&capability, |says| says.rights = u32::MAX),
        forge(&capability, |says| says.folder += 1),
        forge(&capability, |says| says.expires_ms += 3_600_000),
        forge(&capability, |says| says.user = "root".to_owned()),
        forge(&capability, |says| says.operator = true),
        types::capability::SignedCapability { macs: Vec::new(), ..capability.clone() },
        types::capability::SignedCapability { body: Bytes::from_static(b"\xff\xff"), ..capability },
    ];
    for forged in forgeries {
        let mut located = honest.clone();
        located.capability = Some(forged);
        assert_eq!(wire.read(&server, &located).unwrap_err().code, Code::BadCapability);
        assert_eq!(wire.put(&server, &located, b"forged").unwrap_err().code, Code::BadCapability);
    }
    let mut none = honest;
    none.capability = None;
    assert_eq!(wire.read(&server, &none).unwrap_err().code, Code::BadCapability);
    assert_unharmed(&cluster, &pids);
}

#[test]
fn an_expired_capability_opens_nothing_any_more() {
    /// Shorter than usual; what is tested is that it ends, and not before.
    const LIFE: Duration = Duration::from_secs(8);
    // At the normal pace: a lease of a second may lapse meanwhile on a machine that is busy.
    let cluster = Cluster::start(false);
    let _nm = cluster.restart_by_hand("nm", &Conditions::words(&["--capability-life", "8"]));
    well(&cluster);
    let wire = Wire::open(&cluster);
    let server = wire.to_server("ss1").unwrap();
    let located = wire.locate("/file", right::READ).unwrap();
    wire.read(&server, &located).expect("it is fresh");
    // Waits for what is waited for: the end of its life.
    let most = LIFE + Duration::from_secs(10);
    let took = until(most, "the capability to expire", || match wire.read(&server, &located) {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.code, Code::BadCapability, "{error}");
            true
        }
    });
    assert!(took > LIFE / 2, "it served for a while, not {took:?}");
    assert_eq!(cluster.read("/file"), b"content", "who asks anew gets a new one");
}

#[test]
fn requests_that_do_not_decode_are_answered_and_the_connection_lives() {
    let cluster = Cluster::start(true);
    let pids = well(&cluster);
    let wire = Wire::open(&cluster);
    // Rights that do not exist, ids that do not exist.
    let strange = LocateRequest {
        path: "/file".to_owned(),
        rights: u32::MAX,
        may_be_missing: false,
        ..LocateRequest::default()
    };
    let _ = wire.ask::<Locate>(&strange);
    let server = wire.to_server("ss1").unwrap();
    let mut located = wire.locate("/file", right::ALL).unwrap();
    let file = located.record.as_mut().unwrap();
    file.id = u64::MAX;
    wire.read(&server, &located).unwrap_err();
    let honest = wire.locate("/file", right::ALL).unwrap();
    wire.read(&server, &honest).expect("the same connection still serves");
    assert_unharmed(&cluster, &pids);
}
