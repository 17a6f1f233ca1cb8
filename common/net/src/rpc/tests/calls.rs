//! Calls and casts that work, and failures that are answered.

use super::*;
use futures_util::future::join_all;
use types::Effect;
use types::limits::FRAME_MAX;

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let calls = join_all((0..300).map(|value| {
        let connection = connection.clone();
        async move {
            let body = Bytes::from(vec![value as u8; value as usize * 100]);
            let (reply, echoed) =
                connection.call::<Held>(Number { value }, body.clone(), soon()).await.unwrap();
            assert_eq!((reply.value, echoed), (value, body));
        }
    }));
    let release = async {
        until("all are held", || server.house.held.lock().unwrap().len() == 300).await;
        for value in (0..300).rev() {
            server.house.release(|number| number == value);
        }
    };
    tokio::join!(calls, release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bulk_bytes_survive_many_callers_at_once() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let callers = (0..16u64).map(|caller| {
        let connection = connection.clone();
        tokio::spawn(async move {
            for round in 0..20u64 {
                let length = (caller * 65_537 + round * 9_973) % 300_000;
                let body: Bytes = (0..length).map(|i| (i * 31 + caller) as u8).collect::<Vec<_>>().into();
                let (reply, echoed) =
                    connection.call::<Echo>(Number { value: round }, body.clone(), soon()).await.unwrap();
                assert!(reply.value == round && echoed == body);
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
}

#[tokio::test]
async fn the_largest_frames_pass_and_larger_ones_are_refused_before_they_are_sent() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let head = 2;
    let body = Bytes::from(vec![1; FRAME_MAX - crate::frame::HEADER - head]);
    let (_, echoed) = connection.call::<Echo>(Number { value: 1 }, body.clone(), soon()).await.unwrap();
    assert_eq!(echoed, body);
    let error = connection.call::<Echo>(Number { value: 1000 }, body.clone(), soon()).await.unwrap_err();
    assert_eq!((error.code, error.effect), (Code::BadRequest, Effect::None));
    assert!(connection.cast::<Note>(Number { value: 1000 }, body).await.is_err());
    let error =
        connection.call::<Large>(Number { value: FRAME_MAX as u64 }, Bytes::new(), soon()).await.unwrap_err();
    assert_eq!((error.code, error.effect), (Code::Internal, Effect::Unknown));
    assert_eq!(echo(&connection, 3).await.unwrap(), 3);
}

#[tokio::test]
async fn a_failure_arrives_with_the_effect_the_server_states() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let failed = |error: Error| (error.code, error.effect);
    let error = connection.call::<Fails>(Number { value: 1 }, Bytes::new(), soon()).await.unwrap_err();
    assert_eq!(failed(error), (Code::Locked, Effect::Unknown));
    let odd = connection.call_encoded(999, "Odd", Bytes::new(), Bytes::new(), soon()).await.unwrap_err();
    assert_eq!(failed(odd), (Code::Unsupported, Effect::None));
    let noise = Bytes::from_static(&[0xff; 7]);
    let error = connection.call_encoded(Echo::ID, "Echo", noise, Bytes::new(), soon()).await.unwrap_err();
    assert_eq!(failed(error), (Code::BadRequest, Effect::None));
}

#[tokio::test]
async fn a_panic_in_one_request_harms_no_other() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    for _ in 0..3 {
        let error = connection.call::<PanicNow>(Number { value: 1 }, Bytes::new(), soon()).await.unwrap_err();
        assert_eq!((error.code, error.effect), (Code::Internal, Effect::Unknown));
        let error =
            connection.call::<PanicLater>(Number { value: 1 }, Bytes::new(), soon()).await.unwrap_err();
        assert_eq!((error.code, error.effect), (Code::Internal, Effect::Unknown));
    }
    assert_eq!(echo(&connection, 1).await.unwrap(), 1);
    connection.cast::<NotePanics>(Number { value: 1 }, Bytes::new()).await.unwrap();
    tokio::time::timeout_at(soon(), connection.closed()).await.unwrap();
    server.assert_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pieces_arrive_in_order_and_the_commit_sees_all_of_them() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let mut expected = Vec::new();
    for round in 0..10u64 {
        for value in round * 100..round * 100 + 100 {
            connection.cast::<Note>(Number { value }, Bytes::from(vec![0; 1000])).await.unwrap();
            expected.push(value);
        }
        let (notes, _) = connection.call::<Notes>((), Bytes::new(), soon()).await.unwrap();
        assert_eq!(notes.values, expected);
    }
}

#[tokio::test]
async fn a_session_keeps_what_the_service_gives_it() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    assert_eq!(echo(&connection, 1).await.unwrap(), 1);
    let session = server.house.sessions.lock().unwrap()[0].clone();
    assert_eq!(session.get::<AtomicUsize>().unwrap().load(Ordering::SeqCst), 1);
    assert!(session.get::<String>().is_none());
    assert_eq!(session.peer.purpose, 3);
    assert_eq!(session.peer.addr, connection.local_addr());
    assert_eq!(session.peer.host_boot, crate::clock::boot_id().unwrap());
    assert_eq!(session.set(Arc::new(AtomicUsize::new(2))).unwrap().load(Ordering::SeqCst), 1);
}
