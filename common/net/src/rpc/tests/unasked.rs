//! Pushes.

use super::*;

#[tokio::test]
async fn pushes_arrive_in_order_and_none_before_the_first_subscriber_is_missed() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    connection.call::<PushMany>(Number { value: 200 }, Bytes::new(), soon()).await.unwrap();
    let mut pushes = connection.pushes();
    assert_eq!(&pushes.recv().await.unwrap().head[..], b"before anything else");
    for number in 0..200u64 {
        let push = pushes.recv().await.unwrap();
        assert_eq!((push.method, &push.head[..]), (9, &number.to_le_bytes()[..]));
    }
    connection.close();
    assert!(pushes.recv().await.is_none());
}

#[tokio::test]
async fn a_subscriber_who_is_too_far_behind_connects_again_instead_of_missing_something() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let mut pushes = connection.pushes();
    connection.call::<PushMany>(Number { value: 900 }, Bytes::new(), soon()).await.unwrap();
    assert!(pushes.recv().await.is_none());
    assert!(connection.is_closed());
    assert!(pushes.recv().await.is_none());
}

#[tokio::test]
async fn a_client_that_does_not_read_its_pushes_is_cut_off() {
    let server = start(House::default()).await;
    let (_reader, _writer) = raw(&server.addr).await;
    until("connected", || !server.house.sessions.lock().unwrap().is_empty()).await;
    let session = server.house.sessions.lock().unwrap()[0].clone();
    let head = Bytes::from(vec![0; 100_000]);
    let deadline = soon();
    let error = loop {
        assert!(Instant::now() < deadline);
        match session.push(1, head.clone()) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Busy);
    assert!(session.is_closed());
    until("the service is told", || server.house.ended.load(Ordering::SeqCst) == 1).await;
    server.assert_up().await;
}
