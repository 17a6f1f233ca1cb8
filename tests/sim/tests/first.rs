//! Smoke.
use sim::cluster::*;
use sim::timeline::Timeline;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn first() {
    std::thread::spawn(|| {
        sim::tape::play(7);
        let timeline = Timeline::begin("info");
        let mut cluster = Cluster::new(7, 1, timeline.clone()).unwrap();
        for host in [NM, SS1, BACKUP] {
            cluster.start(host);
        }
        cluster.pass(3000);
        let done = Arc::new(Mutex::new(String::new()));
        let told = done.clone();
        let connect = cluster.client(Duration::from_secs(10));
        cluster.hosts[CLIENTS].start(async move {
            let client = connect.await?;
            let receipt = client.write("/a", client::Content::from("hello"), &Default::default()).await?;
            *told.lock().unwrap() = format!("{receipt:?}");
            Ok(())
        });
        cluster.wait(5000, |_| !done.lock().unwrap().is_empty());
        for line in timeline.last(200) {
            println!("{line}");
        }
        println!("{:?} {} {:?}", done.lock().unwrap(), cluster.now(), cluster.ended);
        println!("trace {:x}", cluster.network.trace());
        drop(cluster);
        timeline.end();
        sim::tape::stop();
    })
    .join()
    .unwrap();
}
