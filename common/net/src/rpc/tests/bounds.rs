//! What happens at the bounds.

use super::*;
use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_util::codec::Encoder;
use types::Effect;
use types::limits::{CONN_INFLIGHT, HELLO_TIMEOUT};

#[tokio::test]
async fn a_client_waits_when_its_calls_in_flight_are_all_used() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let mut calls: FuturesUnordered<_> = (0..CONN_INFLIGHT as u64)
        .map(|value| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.call::<Held>(Number { value }, Bytes::new(), soon()).await })
        })
        .collect();
    until("all are held", || server.house.begun.load(Ordering::SeqCst) == CONN_INFLIGHT).await;
    let near = Instant::now() + Duration::from_millis(50);
    let error = connection.call::<Echo>(Number { value: 1 }, Bytes::new(), near).await.unwrap_err();
    assert_eq!((error.code, error.effect), (Code::Timeout, Effect::None));
    server.house.release(|_| true);
    while let Some(answer) = calls.next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(echo(&connection, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_server_stops_reading_from_a_client_that_asks_too_much_at_once() {
    let server = start(House::default()).await;
    let (_reader, mut writer) = raw(&server.addr).await;
    let mut bytes = BytesMut::new();
    for number in 1..=CONN_INFLIGHT as u64 + 500 {
        FrameCodec::proven().encode(request(Held::ID, number, number), &mut bytes).unwrap();
    }
    writer.write_all(&bytes).await.unwrap();
    let house = &server.house;
    until("the bound is reached", || house.begun.load(Ordering::SeqCst) == CONN_INFLIGHT).await;
    server.assert_up().await;
    house.release(|number| number <= 100);
    until("the next are taken", || house.begun.load(Ordering::SeqCst) == CONN_INFLIGHT + 100).await;
    until("the rest is taken", || {
        house.release(|_| true);
        house.begun.load(Ordering::SeqCst) == CONN_INFLIGHT + 500
    })
    .await;
    assert!(house.most.load(Ordering::SeqCst) <= CONN_INFLIGHT);
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answers_fills_no_memory() {
    let server = start(House::default()).await;
    let (mut reader, mut writer) = raw(&server.addr).await;
    let mut bytes = BytesMut::new();
    for number in 1..=200 {
        FrameCodec::proven().encode(request(Large::ID, number, 1_000_000), &mut bytes).unwrap();
    }
    writer.write_all(&bytes).await.unwrap();
    until("connected", || !server.house.sessions.lock().unwrap().is_empty()).await;
    let session = server.house.sessions.lock().unwrap()[0].clone();
    until("the queue is full", || session.outbox.room_now(1_000_000).is_none()).await;
    server.assert_up().await;
    session.close();
    until("it ends all the same", || server.house.ended.load(Ordering::SeqCst) >= 1).await;
    until("the writing task lets go", || Arc::strong_count(&session) == 2).await;
    // Though the service still holds the session, the socket is closed.
    while let Ok(Some(_)) = tokio::time::timeout_at(soon(), reader.next()).await.unwrap() {}
}

#[tokio::test]
async fn who_does_not_prove_themselves_is_dropped_in_time() {
    let server = start(House::default()).await;
    let Stream { reader, .. } = Tcp.dial(&server.addr).await.unwrap();
    let begun = Instant::now();
    let mut reader = FrameReader::new(reader, FrameCodec::proven());
    let frame = reader.next().await.unwrap();
    // Dropping our writing half already ends it; either way it does not outlive the bound.
    assert!(frame.is_none_or(|frame| frame.kind == Kind::Failure));
    assert!(begun.elapsed() < HELLO_TIMEOUT + Duration::from_secs(3));
    let Stream { reader, writer, .. } = Tcp.dial(&server.addr).await.unwrap();
    let mut reader = FrameReader::new(reader, FrameCodec::proven());
    let refusal = reader.next().await.unwrap().unwrap();
    assert_eq!(crate::rpc::failure::decode(refusal.head).code, Code::Timeout);
    drop(writer);
    assert_eq!(server.house.sessions.lock().unwrap().len(), 0);
}
