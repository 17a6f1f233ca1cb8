//! What a user of the library asks.

use crate::aside::{self, SetAside};
use crate::cluster;
use crate::config::ClientConfig;
use crate::core::{Core, client_id};
use crate::fsck::{self, FsckOptions, Report};
use crate::info::{self, Info};
use crate::keys::Keys;
use crate::list::Listing;
use crate::lookup::Lookups;
use crate::manager::Manager;
use crate::namespace::{self, Attributes, MakeOptions, MoveOptions, RemoveOptions};
use crate::read::{ReadOptions, Reader};
use crate::risk::{self, FilesAtRisk};
use crate::scrub::{self, ScrubOptions, ScrubProgress, ScrubReport};
use crate::servers::Servers;
use crate::usage::{self, Usage};
use crate::write::{self, Content, CopyOptions, Receipt, WriteOptions};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use types::Result;
use types::ids::RequestKey;
use types::limits::CLIENT_TIMEOUT_MAX;
use types::message::manager::{ForcePromoteReply, Placement, ServerSettings, ServerStatus, StatusReply};
use types::message::store::Durability;
use types::record::{Event, Kind, Record};

/// A client of one cluster, signed in as one user. Clones share its connections and caches; they are closed
/// when the last clone and the last [`Reader`] go.
///
/// Every method waits for a lost server at most for the client's timeout and then fails with `UNAVAILABLE`,
/// `NO_ACTING_MEMBER` or `TIMEOUT`; a change whose effect is not known fails with `OUTCOME_UNKNOWN`, and
/// its message names the request key under which the same request is answered, not done twice. Dropping the
/// future of a change leaves open whether it is done.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.core.user)
    }
}

impl Client {
    /// Connects to the name manager and signs in. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `USAGE` without an address; `BAD_PROOF` or `NOT_SIGNED_IN` for a key that is not known; `UNAVAILABLE`
    /// when no name manager answers within the timeout.
    pub async fn connect(config: ClientConfig) -> Result<Client> {
        let timeout = config.timeout.min(CLIENT_TIMEOUT_MAX);
        let manager = Manager::start(&config)?;
        let attached = manager.first(Instant::now() + timeout).await?;
        let core = Core {
            manager,
            servers: Servers::default(),
            lookups: Lookups::default(),
            keys: Keys::new(client_id(&attached)),
            user: attached.user,
            timeout,
        };
        Ok(Client { core: Arc::new(core) })
    }

    /// The user this client is signed in as.
    pub fn user(&self) -> &str {
        &self.core.user
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// `EXISTS`, `NOT_FOUND` (its folder), `BAD_PATH`, `DENIED`; see [`Client`].
    pub async fn create(&self, path: &str, request_key: Option<RequestKey>) -> Result<Record> {
        namespace::make(&self.core, path, Kind::File, MakeOptions { request_key, ..MakeOptions::default() })
            .await
    }

    /// Makes a folder; with `parents` also those above it, and it may exist.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub async fn mkdir(&self, path: &str, parents: bool, request_key: Option<RequestKey>) -> Result<Record> {
        self.mkdir_with(path, MakeOptions { parents, request_key, ..MakeOptions::default() }).await
    }

    /// [`Client::mkdir`] with a mode, a modification time and a word on how durable writes below it are. With
    /// `parents` a folder that exists takes the mode and the time on.
    ///
    /// # Errors
    /// As [`Client::create`]; `EXISTS` for a folder that says otherwise about durability.
    pub async fn mkdir_with(&self, path: &str, options: MakeOptions) -> Result<Record> {
        namespace::make(&self.core, path, Kind::Folder, options).await
    }

    /// How durable writes at a path are unless they say it themselves, and the folder that says so; none: `async` is
    /// nobody's word.
    ///
    /// # Errors
    /// `NOT_FOUND`; see [`Client`].
    pub async fn durability(&self, path: &str) -> Result<(Durability, Option<String>)> {
        info::durability(&self.core, path).await
    }

    /// Says how durable writes below a folder are unless they say it themselves, for the whole cluster if it is the
    /// root; unset: as the folder above says. Every later write goes by it.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_A_FOLDER`, `DENIED`; see [`Client`].
    pub async fn set_durability(
        &self,
        path: &str,
        durability: Durability,
        request_key: Option<RequestKey>,
    ) -> Result<Record> {
        namespace::set_durability(&self.core, path, durability, request_key).await
    }

    /// Makes a symbolic link to `target`, which is kept as given and not followed.
    ///
    /// # Errors
    /// As [`Client::create`].
    pub async fn symlink(
        &self,
        path: &str,
        target: &str,
        attributes: Attributes,
        request_key: Option<RequestKey>,
    ) -> Result<Record> {
        namespace::symlink(&self.core, path, target, attributes, request_key).await
    }

    /// What stands at a path, with its kept versions; none if nothing does. Cheaper than [`Client::info`]: no
    /// storage server is asked.
    ///
    /// # Errors
    /// `BAD_PATH`, `DENIED`; see [`Client`].
    pub async fn entry(&self, path: &str) -> Result<Option<Record>> {
        info::entry(&self.core, path).await
    }

    /// Removes a file or folder, into the trash unless told otherwise.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_EMPTY`, `LOCKED` (an upload is open), `DENIED`; see [`Client`].
    pub async fn remove(&self, path: &str, options: &RemoveOptions) -> Result<()> {
        namespace::remove(&self.core, path, options).await
    }

    /// Moves a file or folder; gives it as it is after.
    ///
    /// # Errors
    /// `NOT_FOUND`, `EXISTS`, `DENIED`; see [`Client`].
    pub async fn rename(&self, from: &str, to: &str, options: &MoveOptions) -> Result<Record> {
        namespace::rename(&self.core, from, to, options).await
    }

    /// Everything about a file or folder.
    ///
    /// # Errors
    /// `NOT_FOUND`; see [`Client`].
    pub async fn info(&self, path: &str) -> Result<Info> {
        info::info(&self.core, path).await
    }

    /// Lists a folder (or the one file of that path) in the order of [`crate::sort_name`], after that of
    /// `after` if it is not empty.
    ///
    /// # Errors
    /// `BAD_PATH`; the listing itself says the rest.
    pub fn list(&self, path: &str, after: &str, limit: Option<u64>) -> Result<Listing> {
        Listing::new(self.core.clone(), path, after, limit)
    }

    /// Begins to read a file.
    ///
    /// # Errors
    /// `NOT_FOUND`, `IS_A_FOLDER`, `NO_SUCH_VERSION`, `BAD_RANGE`, `ONLY_COPY_AWAY`, `DENIED`; see [`Client`].
    pub async fn read(&self, path: &str, options: &ReadOptions) -> Result<Reader> {
        Reader::open(self.core.clone(), path, options).await
    }

    /// Begins to read a file that a listing of its folder has just shown as `entry`. Where the rights hold for
    /// the whole folder, the name manager is asked once for the folder and not for each file.
    ///
    /// # Errors
    /// As [`Client::read`].
    pub async fn read_listed(&self, path: &str, entry: &Record, options: &ReadOptions) -> Result<Reader> {
        self.core.lookups.listed(path, entry)?;
        Reader::open(self.core.clone(), path, options).await
    }

    /// Writes a content as one version. The file is made if there is none.
    ///
    /// # Errors
    /// `CHANGED` (not the version asked for), `EXISTS` (with `create_only`), `NOT_FOUND` (its folder),
    /// `QUOTA_REACHED`, `DISK_FULL`, `DENIED`; see [`Client`].
    pub async fn write(&self, path: &str, content: Content, options: &WriteOptions) -> Result<Receipt> {
        write::write(&self.core, path, content, options).await
    }

    /// Makes the present content of one file the newest version of another, which is made if there is none; `to` may be
    /// an existing folder. Where both are on one pair their chunks are shared and no bytes travel.
    ///
    /// # Errors
    /// Those of [`Client::read`] and [`Client::write`]; `USAGE` when both are the same file.
    pub async fn copy(&self, from: &str, to: &str, options: &CopyOptions) -> Result<Receipt> {
        write::copy(&self.core, from, to, options).await
    }

    /// The name manager's clock, ms since 1970.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn time(&self) -> Result<u64> {
        Ok(self.core.manager.attach_again(&mut self.core.retry()).await?.now_ms)
    }

    /// Servers, pairs and name managers.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn status(&self) -> Result<StatusReply> {
        cluster::status(&self.core).await
    }

    /// Connects to storage servers at the addresses that `status` tells, those that are not connected; gives for each how long
    /// that took, or why it cannot be: `TIMEOUT` after `patience`, `UNAVAILABLE` when it is not reached from here, or is not
    /// who it should be.
    pub async fn reach(&self, servers: &[ServerStatus], patience: Duration) -> Vec<Result<Duration>> {
        cluster::reach(&self.core, servers, patience).await
    }

    /// Names at most `limit` files at risk, as of `status`. Only for an administrator: all files are looked through.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn files_at_risk(&self, status: &StatusReply, limit: usize) -> Result<FilesAtRisk> {
        risk::files_at_risk(&self.core, status, limit).await
    }

    /// How the servers are set, and where each setting came from: the name manager first. Only for an administrator.
    ///
    /// # Errors
    /// `DENIED`; see [`Client`].
    pub async fn settings(&self) -> Result<Vec<ServerSettings>> {
        cluster::settings(&self.core).await
    }

    /// What happened after event number `after`; waits up to `wait` if there is nothing yet. `limit` 0: a
    /// page.
    ///
    /// # Errors
    /// See [`Client`].
    pub async fn events(&self, after: u64, limit: u32, wait: Duration) -> Result<Vec<Event>> {
        cluster::events(&self.core, after, limit, wait).await
    }

    /// What the files of a pair take. Reads the whole index of the pair.
    ///
    /// # Errors
    /// `NOT_FOUND`, `DENIED`; see [`Client`].
    pub async fn usage(&self, pair: u32) -> Result<Usage> {
        usage::usage(&self.core, pair).await
    }

    /// Who acts in a pair now.
    ///
    /// # Errors
    /// `NOT_FOUND`; see [`Client`].
    pub async fn whereabouts(&self, pair: u32) -> Result<Placement> {
        cluster::whereabouts(&self.core, pair).await
    }

    /// Hands a pair over to `to`, or to the member that does not act if `to` is empty.
    ///
    /// # Errors
    /// `NOT_FOUND`; what keeps it from being done; see [`Client`].
    pub async fn switchover(&self, pair: &str, to: &str) -> Result<Placement> {
        cluster::switchover(&self.core, pair, to).await
    }

    /// The last resort for a pair that nobody may serve: says which files the member that is there lacks
    /// versions of, and if `accept_loss` makes it act all the same.
    ///
    /// # Errors
    /// `CHANGED` while somebody acts; `UNAVAILABLE` if no member is there; see [`Client`].
    pub async fn force_promote(&self, pair: &str, accept_loss: bool) -> Result<ForcePromoteReply> {
        cluster::force_promote(&self.core, pair, accept_loss).await
    }

    /// Compares the index and both copies of everything.
    ///
    /// # Errors
    /// See [`Client`]. What is found is no error but stands in the report.
    pub async fn fsck(&self, options: &FsckOptions) -> Result<Report> {
        fsck::fsck(&self.core, options).await
    }

    /// Has both members of each pair compare what they hold with its SHA-256 and repair what is bad from each
    /// other. For administrators.
    ///
    /// # Errors
    /// `NOT_FOUND` for a path; `DENIED`; see [`Client`]. What is found is no error but stands in the report.
    pub async fn scrub(&self, options: &ScrubOptions, progress: &ScrubProgress) -> Result<ScrubReport> {
        scrub::scrub(&self.core, options, progress).await
    }

    /// What the servers have set aside because the index did not list it. For administrators.
    ///
    /// # Errors
    /// `DENIED`; see [`Client`].
    pub async fn set_aside(&self) -> Result<Vec<SetAside>> {
        aside::list(&self.core).await
    }

    /// Gives up, for good, what a server has set aside, as it was listed; gives how many records that were.
    ///
    /// # Errors
    /// `DENIED`; `UNAVAILABLE` unless both members of its pair are well; see [`Client`].
    pub async fn give_up_aside(&self, aside: &SetAside) -> Result<u64> {
        aside::give_up(&self.core, aside).await
    }
}
