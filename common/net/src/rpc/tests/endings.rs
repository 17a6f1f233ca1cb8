//! Deadlines, lost connections, shutdown: what a caller may believe afterwards.

use super::*;
use futures_util::FutureExt;
use futures_util::future::join_all;
use types::Effect;
use types::limits::MIB;

fn told(error: Error) -> (Code, Effect) {
    (error.code, error.effect)
}

#[tokio::test]
async fn a_connection_lost_in_a_call_leaves_its_outcome_unknown() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let error = connection.call::<HangUp>(Number { value: 1 }, Bytes::new(), soon()).await.unwrap_err();
    assert_eq!(told(error), (Code::Unavailable, Effect::Unknown));
    connection.closed().await;
    let error = echo(&connection, 1).await.unwrap_err();
    assert_eq!(told(error), (Code::Unavailable, Effect::None));
    assert!(connection.cast::<Note>(Number { value: 1 }, Bytes::new()).await.is_err());
    until("the service is told", || server.house.ended.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn what_was_never_written_surely_did_not_happen() {
    let (addr, server) = fake_server().await;
    let connection = Connection::open(&addr.to_string(), node(), None, 0).await.unwrap();
    let peer = server.await.unwrap();
    // Nobody reads: the sockets fill up, then the queue, then the callers wait.
    let body = Bytes::from(vec![0; MIB - 100]);
    let calls = (0..40).map(|value| connection.call::<Echo>(Number { value }, body.clone(), soon()));
    let mut calls = Box::pin(join_all(calls));
    let deadline = soon();
    while connection.cast_encoded(1, Bytes::new(), body.clone()).now_or_never().is_some() {
        assert!(Instant::now() < deadline);
        assert!(calls.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let late = Instant::now() + Duration::from_millis(50);
    let error = connection.call::<Echo>(Number { value: 1 }, Bytes::new(), late).await.unwrap_err();
    assert_eq!(told(error), (Code::Timeout, Effect::None));
    drop(peer);
    let effects: Vec<_> = calls.await.into_iter().map(|result| result.unwrap_err().effect).collect();
    assert_eq!(effects[0], Effect::Unknown);
    assert_eq!(effects[39], Effect::None);
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_says_what_may_have_happened() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let past = std::time::Instant::now();
    let error = connection.call::<Echo>(Number { value: 1 }, Bytes::new(), past).await.unwrap_err();
    assert_eq!(told(error), (Code::Timeout, Effect::None));
    let near = std::time::Instant::now() + Duration::from_millis(30);
    let error = connection.call::<Held>(Number { value: 1 }, Bytes::new(), near).await.unwrap_err();
    assert_eq!(told(error), (Code::Timeout, Effect::Unknown));
    // The late answer finds nobody and disturbs nobody.
    server.house.release(|_| true);
    assert_eq!(echo(&connection, 2).await.unwrap(), 2);
}

#[tokio::test]
async fn a_call_that_is_given_up_takes_no_place() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    // More in all than may be in flight at once.
    for round in 1..=60 {
        let mut calls: Vec<_> = (0..20)
            .map(|value| Box::pin(connection.call::<Held>(Number { value }, Bytes::new(), soon())))
            .collect();
        for call in &mut calls {
            assert!(call.as_mut().now_or_never().is_none());
        }
        until("all are held", || server.house.begun.load(Ordering::SeqCst) == 20 * round).await;
        drop(calls);
        server.house.release(|_| true);
    }
    assert_eq!(echo(&connection, 2).await.unwrap(), 2);
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_works_on_and_takes_nothing_new() {
    let mut server = start(House::default()).await;
    let connection = server.connect().await;
    let mut call = Box::pin(connection.call::<Held>(Number { value: 8 }, Bytes::new(), soon()));
    assert!(call.as_mut().now_or_never().is_none());
    until("it is held", || server.house.begun.load(Ordering::SeqCst) == 1).await;
    let _ = server.stop.take().unwrap().send(());
    tokio::time::timeout_at(soon(), connection.closed()).await.unwrap();
    let error = echo(&connection, 1).await.unwrap_err();
    assert_eq!(told(error), (Code::Unavailable, Effect::None));
    server.house.release(|_| true);
    assert_eq!(call.await.unwrap().0.value, 8);
    tokio::time::timeout_at(soon(), server.task).await.unwrap().unwrap();
    assert_eq!(server.house.ended.load(Ordering::SeqCst), 1);
    let error = Connection::open(&server.addr, node(), None, 0).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
}

#[tokio::test]
async fn a_server_does_not_wait_for_ever_for_a_call_that_hangs() {
    let mut server = start(House::default()).await;
    let connection = server.connect().await;
    let mut call = Box::pin(connection.call::<Held>(Number { value: 8 }, Bytes::new(), soon()));
    assert!(call.as_mut().now_or_never().is_none());
    until("it is held", || server.house.begun.load(Ordering::SeqCst) == 1).await;
    let _ = server.stop.take().unwrap().send(());
    tokio::time::timeout_at(soon(), server.task).await.unwrap().unwrap();
    assert_eq!(told(call.await.unwrap_err()), (Code::Unavailable, Effect::Unknown));
}

#[tokio::test]
async fn the_last_handle_gone_the_server_is_told_and_queued_casts_still_arrive() {
    let server = start(House::default()).await;
    let connection = server.connect().await;
    let clone = connection.clone();
    drop(connection);
    assert_eq!(echo(&clone, 1).await.unwrap(), 1);
    for value in 0..50 {
        clone.cast::<Note>(Number { value }, Bytes::new()).await.unwrap();
    }
    drop(clone);
    until("the service is told", || server.house.ended.load(Ordering::SeqCst) == 1).await;
    until("all arrived", || server.house.notes.lock().unwrap().len() == 50).await;
}
