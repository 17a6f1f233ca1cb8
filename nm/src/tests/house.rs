//! A name manager in a temporary folder, and a client of it.

use super::fake::SECRET;
use crate::config::{Config, Failback, Switch};
use crate::run::serve;
use bytes::Bytes;
use net::options::LogOptions;
use net::{Connection, Credential, Method};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use types::Result;
use types::command::Asker;
use types::ids::{ClientId, RequestKey};
use types::message::manager::{Attach, Attached, PairStatus, Status, StatusReply, StatusRequest};
use types::message::{Empty, purpose};

pub(super) struct House {
    pub(super) folder: TempDir,
    pub(super) addr: String,
    pub(super) client: Connection,
    attached: Attached,
    number: u64,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

fn config(folder: &Path, failback: Failback) -> Config {
    Config {
        data: folder.join("nm"),
        listen: "127.0.0.1:0".into(),
        advertise: None,
        cluster_secret: Some(folder.join("cluster.secret")),
        admin_key: Some(folder.join("admin.key")),
        insecure_plaintext: false,
        fast: true,
        failback,
        hang_timeout: None,
        on_event: None,
        flap_failures: None,
        flap_window: types::limits::FLAP_WINDOW.as_secs(),
        checkpoint_entries: None,
        capability_life: types::limits::CAPABILITY_TTL.as_secs(),
        log: LogOptions { log_level: None, log_file: None, log_file_kib: 1, config: None },
        relay: crate::config::Relay::default(),
        fast_failover: Switch::On,
        rebuild: false,
        accept_one_member: false,
        name: "nm".into(),
    }
}

impl House {
    pub(super) async fn open() -> House {
        House::open_in(tempfile::tempdir().unwrap(), Failback::Auto).await
    }

    pub(super) async fn open_in(folder: TempDir, failback: Failback) -> House {
        net::secret::write(&folder.path().join("cluster.secret"), &SECRET).unwrap();
        let (told, serving) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = config(folder.path(), failback);
        let tunable = std::sync::Arc::new(crate::manager::Tunable::new(&config));
        let task = tokio::spawn(serve(config, tunable, |addr| told.send(addr).unwrap(), async {
            drop(stopped.await)
        }));
        let addr = serving.await.expect("the name manager serves").to_string();
        let key = std::fs::read_to_string(folder.path().join("admin.key")).unwrap();
        let words: Vec<&str> = key.split_whitespace().collect();
        let bytes = (0..32).map(|i| u8::from_str_radix(&words[2][2 * i..2 * i + 2], 16).unwrap()).collect();
        let credential = Credential::User { name: words[0].into(), key_id: words[1].into(), key: bytes };
        let client = Connection::open(&addr, credential, None, purpose::DATA).await.unwrap();
        let (attached, number) = (Attached::default(), 0);
        let mut house = House { folder, addr, client, attached, number, stop, task };
        house.attached = house.ask::<Attach>(Empty {}).await.unwrap();
        house
    }

    pub(super) async fn close(self) -> TempDir {
        drop(self.stop);
        self.task.await.unwrap().unwrap();
        self.folder
    }

    pub(super) async fn ask<M: Method>(&self, request: M::Request) -> Result<M::Reply> {
        let deadline = Instant::now() + Duration::from_secs(20);
        self.client.call::<M>(request, Bytes::new(), deadline).await.map(|(reply, _)| reply)
    }

    pub(super) fn asker(&mut self) -> Asker {
        self.number += 1;
        let client = ClientId { issued: self.attached.client_issued, random: self.attached.client_random };
        let key = RequestKey { client, number: self.number, lowest: self.number };
        Asker::new("admin", key, [self.number as u8; 32])
    }

    pub(super) async fn status(&self) -> StatusReply {
        self.ask::<Status>(StatusRequest::default()).await.unwrap()
    }

    /// Waits until the first pair is as `wanted`.
    pub(super) async fn until(&self, what: &str, wanted: impl Fn(&PairStatus) -> bool) -> PairStatus {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status().await;
            if let Some(pair) = status.pairs.first()
                && wanted(pair)
            {
                return pair.clone();
            }
            assert!(Instant::now() < deadline, "not {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Looks again and again for `span` whether the first pair stays as `wanted`: what must not happen cannot be
    /// waited for.
    pub(super) async fn all_along(&self, span: Duration, what: &str, wanted: impl Fn(&PairStatus) -> bool) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            let status = self.status().await;
            assert!(status.pairs.first().is_some_and(&wanted), "not {what} any more: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn until_state(&self, state: &str) -> PairStatus {
        self.until(state, |pair| pair.state == state && pair.lag_rows == 0).await
    }
}
