//! What an operation sees of the state while a batch is applied: typed reads through a small write-back
//! cache, the number of the command, and the few writes that several operations share.

use crate::keys::{self, Counters, RowSubject};
use crate::state::State;
use crate::store::{StoreError, StoreMut, Table};
use prost::Message;
use std::collections::BTreeMap;
use types::command::FeedPlace;
use types::ids::{InodeId, Seq};
use types::limits::EVENTS_KEPT;
use types::record::{Event, Number, Pair, Record, Server};
use types::{Code, Error};

/// Why an operation did not answer with success.
#[derive(Debug)]
pub(super) enum Stop {
    /// It is refused; nothing has changed.
    Refused(Error),
    /// The store failed: the state machine stops.
    Store(StoreError),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Store(error)
    }
}

/// Refuses with a code, what happened, and what to do next.
pub(super) fn refuse<T>(code: Code, what: impl std::fmt::Display, next: &str) -> Result<T, Stop> {
    Err(Stop::Refused(Error::new(code, what, next)))
}

/// Log entries that are left out behind the newest one that a rebuild has seen: what a member knows that was not
/// there is older than whatever comes (R26).
const SEQ_GAP: u64 = 1 << 32;

/// The state while one log entry is applied.
///
/// Pairs, servers and counters are changed by nearly every command of a batch: they are kept here and
/// written once, at the end.
pub(super) struct Context<'a> {
    store: &'a mut dyn StoreMut,
    counters: Counters,
    pairs: BTreeMap<u32, Pair>,
    servers: BTreeMap<String, Server>,
    index: u64,
    /// Number of the next row of this batch.
    place: u16,
    rows: Vec<FeedPlace>,
}

impl<'a> Context<'a> {
    pub(super) fn begin(
        store: &'a mut dyn StoreMut,
        index: u64,
        time_ms: u64,
    ) -> Result<Context<'a>, StoreError> {
        let mut counters = State::new(store).counters()?;
        // Log time never goes back, whatever the leader's clock does (R13).
        counters.log_time = counters.log_time.max(time_ms);
        let index = index + counters.index_base;
        Ok(Context {
            store,
            counters,
            pairs: BTreeMap::new(),
            servers: BTreeMap::new(),
            index,
            place: 0,
            rows: Vec::new(),
        })
    }

    /// Begins the next command of the batch.
    pub(super) fn next_command(&mut self) {
        self.rows.clear();
    }

    pub(super) fn end(self) -> Result<(), StoreError> {
        let Context { store, counters, pairs, servers, .. } = self;
        for (id, pair) in pairs {
            store.put(Table::Pairs, &id.to_be_bytes(), &pair.encode_to_vec())?;
        }
        for (name, server) in servers {
            store.put(Table::Servers, name.as_bytes(), &server.encode_to_vec())?;
        }
        store.put(Table::Meta, keys::COUNTERS, &counters.encode_to_vec())
    }

    pub(super) fn store(&mut self) -> &mut dyn StoreMut {
        self.store
    }

    /// The stored state; pairs, servers and counters are to be read through the context.
    pub(super) fn state(&self) -> State<'_> {
        State::new(self.store)
    }

    pub(super) fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.counters.log_time
    }

    /// The number the next change of this command gets: the stamp of what it changes.
    pub(super) fn seq(&self) -> u64 {
        Seq::new(self.index, self.place).0
    }

    /// The rows this command has made so far.
    pub(super) fn rows(&self) -> Vec<FeedPlace> {
        self.rows.clone()
    }

    pub(super) fn pair(&mut self, id: u32) -> Result<&mut Pair, Stop> {
        if !self.pairs.contains_key(&id) {
            let Some(pair) = State::new(self.store).pair(id)? else {
                return refuse(
                    Code::NotFound,
                    format_args!("pair {id} does not exist"),
                    "look at `pairfs status`",
                );
            };
            self.pairs.insert(id, pair);
        }
        self.pairs.get_mut(&id).ok_or_else(|| Error::internal("a pair vanished").into())
    }

    pub(super) fn put_pair(&mut self, pair: Pair) {
        self.pairs.insert(pair.id, pair);
    }

    /// The pair whose primary is `primary`, if it exists.
    pub(super) fn pair_of_primary(&mut self, primary: &str) -> Result<Option<u32>, Stop> {
        if let Some(pair) = self.pairs.values().find(|pair| pair.primary == primary) {
            return Ok(Some(pair.id));
        }
        Ok(self.state().pairs()?.into_iter().find(|pair| pair.primary == primary).map(|pair| pair.id))
    }

    pub(super) fn server_if_known(&mut self, name: &str) -> Result<Option<&mut Server>, Stop> {
        if !self.servers.contains_key(name) {
            match State::new(self.store).server(name)? {
                Some(server) => self.servers.insert(name.to_owned(), server),
                None => return Ok(None),
            };
        }
        Ok(self.servers.get_mut(name))
    }

    pub(super) fn server(&mut self, name: &str) -> Result<&mut Server, Stop> {
        match self.server_if_known(name)? {
            Some(server) => Ok(server),
            None => refuse(
                Code::NotFound,
                format_args!("server {name} has never registered"),
                "look at `pairfs status`",
            ),
        }
    }

    /// All servers as they are now.
    pub(super) fn servers(&mut self) -> Result<Vec<Server>, Stop> {
        let mut servers: BTreeMap<String, Server> =
            self.state().servers()?.into_iter().map(|server| (server.name.clone(), server)).collect();
        servers.extend(self.servers.iter().map(|(name, server)| (name.clone(), server.clone())));
        Ok(servers.into_values().collect())
    }

    pub(super) fn put_server(&mut self, server: Server) {
        self.servers.insert(server.name.clone(), server);
    }

    /// Refuses unless `incarnation` is the present, living registration of `name` (R1, R6).
    pub(super) fn require_incarnation(&mut self, name: &str, incarnation: u64) -> Result<&mut Server, Stop> {
        let server = self.server(name)?;
        if server.incarnation != incarnation || server.failed {
            return refuse(
                Code::RegisterAgain,
                format_args!("this registration of {name} is over"),
                "it registers again by itself",
            );
        }
        Ok(server)
    }

    /// From now on sequence numbers are above `seq`, with room for what nobody has told of; gives the next one.
    pub(super) fn raise_seq(&mut self, seq: u64) -> u64 {
        let base = Seq(seq).index() + SEQ_GAP;
        let own = self.index - self.counters.index_base;
        self.counters.index_base = base;
        self.index = own + base;
        self.seq()
    }

    pub(super) fn new_inode(&mut self) -> u64 {
        self.counters.last_inode = self.counters.last_inode.max(InodeId::FIRST.0 - 1) + 1;
        self.counters.last_inode
    }

    /// Where the last row of `feed` stands.
    pub(super) fn feed_end(&mut self, feed: u32) -> Result<u64, Stop> {
        match feed {
            0 => Ok(self.counters.control_end),
            pair => Ok(self.pair(pair)?.feed_end),
        }
    }

    /// Puts a subject into `feed` under the next number of this batch; `before` is where it stood. Gives
    /// the number. Rows are numbered one after the other, so that a subject changed twice in a batch never
    /// goes back.
    fn touch(&mut self, feed: u32, before: u64, subject: &RowSubject) -> Result<u64, Stop> {
        let seq = self.seq();
        let Some(next) = self.place.checked_add(1) else {
            return Err(StoreError::Failed("a batch makes more than 65,535 rows".into()).into());
        };
        self.place = next;
        if before != 0 {
            self.store.delete(Table::Feed, &keys::feed(feed, before))?;
        }
        self.store.put(Table::Feed, &keys::feed(feed, seq), &subject.encode())?;
        match feed {
            0 => self.counters.control_end = seq,
            pair => self.pair(pair)?.feed_end = seq,
        }
        self.rows.push(FeedPlace { feed, seq });
        Ok(seq)
    }

    /// Stores a changed record and gives it its new place in its feed.
    pub(super) fn put_record(&mut self, record: &mut Record) -> Result<(), Stop> {
        record.seq = self.touch(record.pair, record.seq, &RowSubject::Inode(record.id))?;
        self.store.put(Table::Inodes, &keys::inode(record.id), &record.encode_to_vec())?;
        Ok(())
    }

    /// Tells every server that a pair's roles have changed.
    pub(super) fn announce_pair(&mut self, id: u32) -> Result<(), Stop> {
        self.announce(&RowSubject::Pair(id))
    }

    /// Tells every server about a user.
    pub(super) fn announce_user(&mut self, name: &str) -> Result<(), Stop> {
        self.announce(&RowSubject::User(name.to_owned()))
    }

    /// Puts a subject that does not remember its own place into the control feed.
    fn announce(&mut self, subject: &RowSubject) -> Result<(), Stop> {
        let place = keys::row_place(subject);
        let before = self.store.get(Table::Meta, &place)?;
        let before = before.and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes);
        let seq = self.touch(0, before, subject)?;
        self.store.put(Table::Meta, &place, &seq.to_be_bytes())?;
        Ok(())
    }

    pub(super) fn event(&mut self, event: Event) -> Result<(), Stop> {
        self.counters.last_event += 1;
        let number = self.counters.last_event;
        let event = Event { seq: number, time_ms: self.counters.log_time, ..event };
        self.store.put(Table::Events, &number.to_be_bytes(), &event.encode_to_vec())?;
        while number - self.counters.first_event >= EVENTS_KEPT {
            self.store.delete(Table::Events, &self.counters.first_event.to_be_bytes())?;
            self.counters.first_event += 1;
        }
        Ok(())
    }
}

/// An event about a pair.
pub(super) fn pair_event(
    kind: &str,
    server: &str,
    pair: &Pair,
    reason: impl Into<String>,
    numbers: &[(&str, u64)],
) -> Event {
    Event {
        kind: kind.to_owned(),
        server: server.to_owned(),
        pair: pair.name.clone(),
        epoch: pair.epoch,
        reason: reason.into(),
        numbers: numbers
            .iter()
            .map(|(name, value)| Number { name: (*name).to_owned(), value: *value })
            .collect(),
        ..Event::default()
    }
}
