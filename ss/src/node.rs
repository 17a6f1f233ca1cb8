//! The server as its operations see it.

use crate::completions::Completions;
use crate::fetch::Fetches;
use crate::partner::Partner;
use crate::pool::Pool;
use crate::repair::Repairs;
use crate::scrub::Scrubs;
use crate::serving::Serving;
use crate::sessions::{Sessions, lock};
use crate::sources::Sources;
use crate::store::Store;
use crate::upload::Upload;
use net::clock::boottime;
use net::settings::Effective;
use ss_core::lease::Cursors;
use ss_core::pace::{Guard, Kind};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use types::capability::{Capability, SignedCapability};
use types::ids::SessionId;
use types::{Code, Error, Result};

/// Told once: the server stops.
#[derive(Clone)]
pub struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    /// Not told yet.
    pub fn new() -> Stop {
        Stop(Arc::new(watch::channel(false).0))
    }

    /// Tells it.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Whether it was told.
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is told.
    pub async fn stopped(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

impl Default for Stop {
    fn default() -> Stop {
        Stop::new()
    }
}

/// Everything an operation needs.
pub struct Node {
    /// Lease, placement, keys.
    pub serving: Arc<Serving>,
    /// The disk; empty while the server recovers.
    pub disk: OnceLock<Store>,
    /// Threads that wait for it.
    pub pool: Pool,
    /// Uploads in progress.
    pub sessions: Sessions,
    /// The other member.
    pub partner: Arc<Partner>,
    /// Where its contents come from.
    pub sources: Sources,
    /// Copies from the other member.
    pub fetches: Fetches,
    /// Repairs from the other member.
    pub repairs: Repairs,
    /// Scrubs under way.
    pub scrubs: Scrubs,
    /// How fast copies may go, here as the one who copies and as the one who is copied from (R29).
    pub pace: Mutex<Guard>,
    /// Writes that wait for the name manager.
    pub completions: Completions,
    /// Its options, for people.
    pub settings: Arc<Effective>,
    /// Told when the server stops.
    pub stop: Stop,
}

impl Node {
    /// This server's name.
    pub fn name(&self) -> &str {
        &self.serving.name
    }

    /// The store.
    ///
    /// # Errors
    /// `NOT_ACTING` while it recovers.
    pub fn store(&self) -> Result<&Store> {
        self.disk.get().ok_or_else(|| {
            Error::new(Code::NotActing, "the server is recovering its store", "try again in a moment")
        })
    }

    /// Waits as long as copies of `contents` contents of `bytes` bytes in all have to wait for clients (R29).
    pub async fn yield_to_clients(&self, contents: u64, bytes: u64) {
        let jitter = RandomState::new().build_hasher().finish() as u8;
        let wait = lock(&self.pace).pass(boottime(), contents, bytes, jitter);
        if wait.is_zero() {
            return;
        }
        let end = Instant::now() + wait;
        tokio::time::sleep_until(end).await;
        lock(&self.pace).took(boottime(), Kind::Wake, end.elapsed());
    }

    /// A request of a client, or one that a client waits for, has ended.
    pub fn client_felt(&self, kind: Kind, time: Duration) {
        lock(&self.pace).took(boottime(), kind, time);
    }

    /// How far both feeds are applied.
    pub fn cursors(&self, store: &Store) -> Cursors {
        let cursors = store.cursors();
        Cursors { control: cursors.control, pair: cursors.pair }
    }

    /// The epoch to serve `pair` in for a client that believes in epoch `asked`; see
    /// [`Serving::admit`].
    pub fn admit(&self, pair: u32, asked: u64) -> Result<u64> {
        let cursors = self.cursors(self.store()?);
        self.serving.admit(pair, asked, cursors)
    }

    /// What `signed` allows `user`: signature, time, and that the user's rights were not revoked since (R15).
    ///
    /// # Errors
    /// `BAD_CAPABILITY`.
    pub fn capability(&self, signed: Option<&SignedCapability>, user: &str) -> Result<Capability> {
        let capability = self.serving.capability(signed, user)?;
        let revoked = self.store()?.user(user)?.is_some_and(|user| capability.stamp < user.revoked_before);
        if revoked {
            return Err(Error::new(
                Code::BadCapability,
                "rights of this user were revoked since the capability was given",
                "ask the name manager for a new one",
            ));
        }
        Ok(capability)
    }

    /// Ends an upload without a version: its bytes go, here. What is prepared for nothing goes with it. What a row
    /// that has not come may name stays, open, and expires later (decision 0007).
    pub async fn forget(&self, upload: &Arc<Upload>) {
        let cursor = self.disk.get().map_or(0, |store| store.cursors().pair);
        if !upload.is_told_by(cursor) {
            return upload.reopen();
        }
        self.lose(upload).await;
        if let Err(error) = self.drop_undecided(upload.id).await {
            let id = upload.id;
            tracing::warn!(%error, session = %id, "an upload could not be dropped");
        }
    }

    /// Ends an upload whose bytes are gone, but for what the store holds.
    pub async fn lose(&self, upload: &Arc<Upload>) {
        upload.end();
        self.sessions.remove(upload);
        let ended = upload.clone();
        let discarded = self.pool.run(move || {
            ended.discard();
            Ok(())
        });
        if let Err(error) = discarded.await {
            tracing::warn!(%error, session = %upload.id, "an upload could not be given up");
        }
    }

    /// Drops what the store holds of a session, unless it is a version.
    pub async fn drop_undecided(&self, id: SessionId) -> Result<()> {
        let store = self.store()?;
        match store.state(id)? {
            Some(state) if !state.is_decided() => store.drop_session(id).await,
            _ => Ok(()),
        }
    }

    /// Whether the server stops.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits until the server stops.
    pub async fn stopped(&self) {
        self.stop.stopped().await;
    }
}
