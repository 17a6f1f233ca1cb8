//! Bytes that no client of ours sends, before and after the proof.

use super::*;
use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::codec::Encoder;

fn cases() -> Vec<(&'static str, Vec<u8>, Option<Code>)> {
    let mut good = BytesMut::new();
    FrameCodec::proven().encode(request(Echo::ID, 1, 1), &mut good).unwrap();
    let changed = |at: usize, to: &[u8]| {
        let mut bytes = good.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let mut random = vec![0; 10_000];
    getrandom::fill(&mut random).unwrap();
    random[0] = 0;
    vec![
        ("random", random, Some(Code::BadRequest)),
        ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), Some(Code::BadRequest)),
        ("version", changed(2, &[9]), Some(Code::Unsupported)),
        ("kind", changed(3, &[99]), Some(Code::BadRequest)),
        ("a server's kind", changed(3, &[Kind::Welcome as u8]), Some(Code::BadRequest)),
        ("flags", changed(4, &[0xf0]), Some(Code::BadRequest)),
        ("head beyond the bound", changed(16, &u32::MAX.to_le_bytes()), Some(Code::BadRequest)),
        ("body beyond the bound", changed(20, &u32::MAX.to_le_bytes()), Some(Code::BadRequest)),
        ("checksum", changed(24, &[1, 2, 3, 4, 5, 6, 7, 8]), Some(Code::BadRequest)),
        ("damaged head", changed(32, &[0xee]), Some(Code::BadRequest)),
        ("truncated", good[..40.min(good.len() - 1)].to_vec(), None),
        ("truncated header", good[..9].to_vec(), None),
        ("nothing", Vec::new(), None),
    ]
}

/// Sends `bytes`, hangs up its half, and expects `code` and the end, or just the end.
async fn say(
    mut reader: FrameReader,
    mut writer: Box<dyn AsyncWrite + Send + Unpin>,
    case: &str,
    bytes: &[u8],
    code: Option<Code>,
) {
    // The server may have hung up in the middle of it.
    let _ = writer.write_all(bytes).await;
    let _ = writer.shutdown().await;
    let mut refused = None;
    // A reset counts as the end.
    while let Ok(Some(frame)) = tokio::time::timeout_at(soon(), reader.next()).await.unwrap() {
        if frame.kind == Kind::Failure {
            refused = Some(crate::rpc::failure::decode(frame.head).code);
        }
    }
    if let Some(code) = code {
        assert_eq!(refused, Some(code), "{case}");
    }
}

#[tokio::test]
async fn noise_from_strangers_is_refused_and_the_server_serves_on() {
    let server = start(House::default()).await;
    for (case, bytes, code) in cases() {
        let Stream { reader, writer, .. } = Tcp.dial(&server.addr).await.unwrap();
        let reader = FrameReader::new(reader, FrameCodec::proven());
        say(reader, writer, case, &bytes, code).await;
    }
    server.assert_up().await;
    assert_eq!(server.house.sessions.lock().unwrap().len(), 1, "no stranger became a session");
}

#[tokio::test]
async fn noise_from_members_is_refused_and_the_server_serves_on() {
    let server = start(House::default()).await;
    for (before, (case, bytes, code)) in cases().into_iter().enumerate() {
        let (reader, writer) = raw(&server.addr).await;
        say(reader, writer, case, &bytes, code).await;
        until("the session ends", || server.house.ended.load(Ordering::SeqCst) == before + 1).await;
    }
    server.assert_up().await;
}

#[tokio::test]
async fn what_was_asked_before_the_noise_is_still_answered() {
    let server = start(House::default()).await;
    let (mut reader, mut writer) = raw(&server.addr).await;
    let mut bytes = BytesMut::new();
    for number in 1..=10 {
        FrameCodec::proven().encode(request(Echo::ID, number, number), &mut bytes).unwrap();
    }
    bytes.extend_from_slice(b"noise that is no frame at all");
    writer.write_all(&bytes).await.unwrap();
    let mut seen = Vec::new();
    while let Some(frame) = reader.next().await.unwrap() {
        seen.push((frame.kind, frame.correlation));
    }
    let mut expected = vec![(Kind::Push, 0)];
    expected.extend((1..=10).map(|number| (Kind::Reply, number)));
    expected.push((Kind::Failure, 0));
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn noise_from_a_server_ends_the_connection_not_the_client() {
    let (addr, server) = fake_server().await;
    let connection = Connection::open(&addr.to_string(), node(), None, 0).await.unwrap();
    let (mut reader, mut writer) = server.await.unwrap();
    let call = connection.call::<Echo>(Number { value: 1 }, Bytes::new(), soon());
    let answer = async {
        reader.next().await.unwrap().unwrap();
        writer.write_all(&[0x55; 1000]).await.unwrap();
    };
    let (error, ()) = tokio::join!(call, answer);
    assert_eq!(error.unwrap_err().effect, types::Effect::Unknown);
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_service_that_refuses_is_heard_by_the_client() {
    let server = start(House { refuses: true, ..House::default() }).await;
    let error = Connection::open(&server.addr, node(), None, 0).await.unwrap_err();
    assert_eq!(error.code, Code::NotLeader);
    assert!(error.message.contains("nm2"));
    assert_eq!(server.house.ended.load(Ordering::SeqCst), 0);
}
