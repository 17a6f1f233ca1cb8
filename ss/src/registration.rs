//! The life of a server at the name manager (R6, R7, R10): register, which fences its start before; then
//! recover and say where it stands; then learn what became of the prepared sessions. And again when the name
//! manager has declared it failed.

use crate::identity::Identity;
use crate::import::note;
use crate::manager::Managers;
use crate::node::Node;
use crate::resolution;
use crate::store::{Store, StoreConfig};
use crate::wire::{self, passes};
use bytes::Bytes;
use net::Reconnecting;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use types::command::{Recovered, Register};
use types::ids::SessionId;
use types::message::Method;
use types::message::member::{RegisterServer, Registered, ReportRecovered, Resolve};
use types::message::rebuild::Stand;
use types::rebuild::StandReport;
use types::record::{Damage, Server};
use types::{Code, Error, Result};

/// How long one request may take before it is repeated.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between two tries: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Between two words to a name manager that is being rebuilt.
const STAND: Duration = Duration::from_millis(300);
/// Folder of the store in the data directory.
const STORE: &str = "store";

/// What a registration says of this server.
pub struct Registration {
    /// The server.
    pub node: Arc<Node>,
    /// The connection to the name manager.
    pub link: Reconnecting,
    /// Where the name managers are.
    pub managers: Managers,
    /// Its disk.
    pub identity: Identity,
    /// Its primary's name; empty for a primary.
    pub backup_of: String,
    /// Where others reach it.
    pub addr: String,
    /// The operator says that this disk replaces the known one.
    pub replace_disk: bool,
    /// It brings a folder along (R24).
    pub import: bool,
    /// How its store uses its disk and memory.
    pub store: StoreConfig,
    /// Where the registration that holds now is told, once the store is open.
    pub registered: watch::Sender<Option<Server>>,
}

/// Why a step has to begin anew.
enum Trouble {
    /// From the registration on.
    RegisterAgain,
    /// Not at all: a person has to do something.
    Final(Error),
}

impl Registration {
    /// Registers, and registers again whenever a registration is over; ends with an error that a person has
    /// to look at, or when the server stops.
    pub async fn live(mut self) -> Result<()> {
        loop {
            // Its partner stands in for it, or it was not acting: there is nothing it could do before it is started
            // again (R31).
            if let Some(store) = self.node.disk.get() {
                store.in_service()?;
            }
            let incarnation = match self.once().await {
                Ok(incarnation) => incarnation,
                Err(Trouble::RegisterAgain) => continue,
                Err(Trouble::Final(error)) => return Err(error),
            };
            match self.reign(incarnation).await {
                Ok(()) | Err(Trouble::RegisterAgain) => {}
                Err(Trouble::Final(error)) => return Err(error),
            }
            tracing::warn!(server = %self.node.name(), incarnation, "the registration is over: registering again");
        }
    }

    /// Waits for the end of a registration. Each reign of this server that begins meanwhile has fenced the
    /// one before, so what it prepared for its partner can be decided then.
    async fn reign(&self, incarnation: u64) -> Result<(), Trouble> {
        let serving = &self.node.serving;
        let mut epoch = serving.epoch().unwrap_or_default();
        loop {
            epoch = tokio::select! {
                () = serving.over(incarnation) => return Ok(()),
                () = self.astray() => return Ok(()),
                epoch = serving.reign_after(epoch) => epoch,
            };
            if let Some(store) = self.node.disk.get() {
                self.resolve(store, incarnation, |id| self.node.sessions.is_waiting_for_word(id)).await?;
            }
        }
    }

    /// Waits until somebody else answers than the name manager at which the registration holds: a registration shows
    /// whether they may be followed, and does no harm if not. The lease is not given up for that.
    async fn astray(&self) {
        let mut up = self.link.watch();
        while !(self.managers.is_astray() && self.link.current().is_some()) {
            if up.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    async fn once(&mut self) -> Result<u64, Trouble> {
        let registered = self.register().await?;
        if registered.rebuilding {
            return Err(self.stand().await?);
        }
        let incarnation = self.node.serving.incarnation();
        let store = self.store_or_salvage(incarnation, registered.generation).await?;
        let known = self.report(&store, incarnation).await?;
        // After the report: a generation other than the disk's is news for the name manager too.
        store.set_generation(registered.generation).await.map_err(Trouble::Final)?;
        self.expire_leftovers(&store, known.pair_mark).map_err(Trouble::Final)?;
        self.resolve(&store, incarnation, |_| true).await?;
        self.node.serving.resolved(incarnation);
        self.registered.send_replace(Some(known));
        tracing::info!(server = %self.node.name(), incarnation, "registered");
        Ok(incarnation)
    }

    async fn register(&mut self) -> Result<Registered, Trouble> {
        // Durable before it is said (R7).
        let (token, next_token) = self.identity.tokens().map_err(Trouble::Final)?;
        let boot = net::clock::boot_id().map_err(Trouble::Final)?;
        let connection = self.connection().await?;
        let request = Register {
            server: self.node.name().to_owned(),
            backup_of: self.backup_of.clone(),
            token,
            next_token,
            addr: self.addr.clone(),
            ip: connection.local_addr().ip().to_string(),
            boot,
            replace_disk: self.replace_disk,
            elsewhere: false,
            import: self.import,
            generation: self.identity.generation(),
            incarnation: self.identity.incarnation(),
        };
        let registered = self.ask::<RegisterServer>(&request).await?;
        if registered.rebuilding {
            self.managers.settled();
            return Ok(registered);
        }
        self.judge(&registered, &connection).await?;
        let incarnation = registered.server.as_ref().map_or(0, |server| server.incarnation);
        self.identity
            .registered(&registered.cluster_id, registered.generation, incarnation)
            .map_err(Trouble::Final)?;
        // It has replaced the disk by now; a later loss is another matter.
        self.replace_disk = false;
        // The log remembers it.
        self.import = false;
        self.node.serving.registered(&registered).map_err(Trouble::Final)?;
        self.node.serving.registers_at(connection.server_name());
        self.managers.settled();
        Ok(registered)
    }

    /// Whether this name manager may be followed. Else the next address is tried; an old one that has come back may also
    /// be stopped again: then the right one answers.
    async fn judge(&self, registered: &Registered, connection: &net::Connection) -> Result<(), Trouble> {
        let Err(error) = self.identity.check(&registered.cluster_id, registered.generation) else {
            return Ok(());
        };
        let others = self.managers.shun(&error);
        if !others && !passes(&error) {
            return Err(Trouble::Final(error));
        }
        tracing::error!(%error, "registration");
        tokio::time::sleep(PAUSES.1).await;
        // Dialled anew, those first who are not known to be wrong.
        connection.close();
        Err(Trouble::RegisterAgain)
    }

    /// Stands for a rebuild of the name manager (R26): leaves its reign, opens its store for the name manager to read,
    /// and says who it is. Then it asks again whether it may register.
    async fn stand(&self) -> Result<Trouble, Trouble> {
        self.node.serving.stand();
        let store = self.store(None).await.map_err(|error| Trouble::Final(self.way_out(error)))?;
        let report = StandReport {
            server: self.node.name().to_owned(),
            addr: self.addr.clone(),
            cluster_id: self.identity.cluster_id().map(Vec::from).unwrap_or_default(),
            // A disk of a time when the identity did not say it knows it from its cursors.
            generation: self.identity.generation().max(store.cursors().generation),
            token: self.identity.token(),
            incarnation: self.identity.incarnation(),
            journal: store.journal_end(),
            boot: net::clock::boot_id().map_err(Trouble::Final)?,
            forgotten_control: store.forgotten(0),
            forgotten_pair: store.forgotten(1),
            import: note::unfinished(self.identity.folder()).map_err(Trouble::Final)?,
        };
        self.ask::<Stand>(&report).await?;
        tokio::time::sleep(STAND).await;
        Ok(Trouble::RegisterAgain)
    }

    /// The store; opened with the first registration. With `salvage`, behind damage of its journal.
    async fn store(&self, salvage: Option<u64>) -> Result<Store> {
        if let Some(store) = self.node.disk.get() {
            return Ok(store.clone());
        }
        let folder = self.identity.folder().join(STORE);
        let config = StoreConfig { salvage, ..self.store.clone() };
        let open = move || {
            let disk = log::disk_of(&folder).map_err(Error::from)?;
            Store::open(disk, config)
        };
        let store = self.node.pool.run(open).await?;
        Ok(self.node.disk.get_or_init(|| store).clone())
    }

    /// The store; if a part of its journal cannot be read, then as soon as the name manager says that its partner stands
    /// in for what stood there (R31). Until then nothing on the disk has changed.
    async fn store_or_salvage(&self, incarnation: u64, generation: u64) -> Result<Store, Trouble> {
        let error = match self.store(None).await {
            Err(error) if error.code == Code::Damaged => error,
            opened => return opened.map_err(Trouble::Final),
        };
        let hopeless = |error| Trouble::Final(self.way_out(error));
        let folder = self.identity.folder().join(STORE);
        let config = self.store.clone();
        let look = move || {
            let disk = log::disk_of(&folder).map_err(Error::from)?;
            Store::has_holes(disk.as_ref(), &config)
        };
        if !self.node.pool.run(look).await.map_err(hopeless)? {
            return Err(hopeless(error));
        }
        tracing::error!(%error, "a part of the journal cannot be read: asking whether the partner has what stood there");
        let asks = Recovered {
            server: self.node.name().to_owned(),
            incarnation,
            generation,
            damaged: true,
            ..Recovered::default()
        };
        let mut pause = PAUSES.0;
        loop {
            match self.ask::<ReportRecovered>(&asks).await?.damage() {
                Damage::GoesOn => break,
                Damage::Hopeless => return Err(hopeless(error)),
                Damage::None | Damage::Waits => {
                    if pause == PAUSES.0 {
                        tracing::warn!("waiting until the partner stands in for it");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
        self.store(Some(generation)).await.map_err(hopeless)
    }

    /// Damage that keeps the store from being opened (R31) and that no partner can mend now: nothing is changed here.
    fn way_out(&self, error: Error) -> Error {
        if error.code != Code::Damaged {
            return error;
        }
        let (name, folder) = (self.node.name(), self.identity.folder());
        Error::new(
            Code::Damaged,
            format_args!("the store of {name} cannot be opened ({})", error.message),
            format_args!(
                "if its partner has the files, move {} away and start {name} with an empty directory and --replace-disk: \
                 its partner fills it; if it was the last to act, `pairfs pair promote` its partner first",
                folder.display()
            ),
        )
    }

    /// Contents that were open again before the restart: their clocks start anew.
    fn expire_leftovers(&self, store: &Store, mark: u64) -> Result<()> {
        let leftovers = store.open_again()?.into_iter();
        leftovers
            .filter(|held| self.node.sessions.get(held.session).is_none())
            .for_each(|held| resolution::reopen(&self.node, &held, mark));
        Ok(())
    }

    async fn report(&self, store: &Store, incarnation: u64) -> Result<Server, Trouble> {
        let cursors = store.cursors();
        let recovered = Recovered {
            server: self.node.name().to_owned(),
            incarnation,
            control_cursor: cursors.control,
            pair_cursor: cursors.pair,
            journal: store.journal_end(),
            generation: cursors.generation,
            damaged: false,
        };
        let known = self.ask::<ReportRecovered>(&recovered).await?;
        // The heartbeat of the registration came before there was a store to tell of.
        self.node.serving.nudge.notify_one();
        Ok(known)
    }

    /// Learns what became of every prepared session (R10).
    async fn resolve(
        &self,
        store: &Store,
        incarnation: u64,
        only: impl Fn(SessionId) -> bool,
    ) -> Result<(), Trouble> {
        let mut prepared = store.prepared().map_err(Trouble::Final)?;
        prepared.retain(|held| only(held.session));
        for page in prepared.chunks(resolution::PAGE) {
            let request = resolution::request(&self.node, incarnation, page);
            let reply = self.ask::<Resolve>(&request).await?;
            resolution::follow(&self.node, page, reply, &only).await.map_err(Trouble::Final)?;
        }
        Ok(())
    }

    async fn connection(&self) -> Result<net::Connection, Trouble> {
        loop {
            match self.link.get(Instant::now() + PATIENCE).await {
                Ok(connection) => return Ok(connection),
                Err(error) if passes(&error) => tracing::info!(%error, "waiting for the name manager"),
                Err(error) => return Err(Trouble::Final(error)),
            }
        }
    }

    /// Asks until there is an answer.
    async fn ask<M: Method>(&self, request: &M::Request) -> Result<M::Reply, Trouble> {
        let mut pause = PAUSES.0;
        loop {
            let connection = self.connection().await?;
            let error = match wire::call::<M>(&connection, request, Bytes::new(), PATIENCE).await {
                Ok((reply, _)) => return Ok(reply),
                Err(error) => error,
            };
            if error.code == Code::RegisterAgain {
                tokio::time::sleep(pause).await;
                return Err(Trouble::RegisterAgain);
            }
            if !passes(&error) {
                return Err(Trouble::Final(error));
            }
            tracing::info!(%error, request = M::NAME, "asking the name manager again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}
