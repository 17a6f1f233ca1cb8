//! What this server knows about its reign: lease, placement, the name manager's clock, its key. One lock,
//! held for a few instructions.

use net::clock::boottime;
use ss_core::lease::{Cursors, Effect, Grant, Lease};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use types::capability::{Capability, MacKey, SignedCapability, Ticket};
use types::message::manager::Placement;
use types::message::member::{GrantMessage, Reach, Registered, RelayMode};
use types::record::on;
use types::{Code, Error, Result};

/// The state that decides who may be served.
pub struct Serving {
    /// This server's name.
    pub name: String,
    state: Mutex<State>,
    placement: watch::Sender<Placement>,
    /// Highest registration that is known to be over.
    over: watch::Sender<u64>,
    /// Told when a heartbeat should go at once.
    pub nudge: Notify,
}

#[derive(Default)]
struct State {
    lease: Lease,
    resolved: bool,
    /// It stands for a rebuild of the name manager (R26).
    standing: bool,
    key: Option<MacKey>,
    cluster_id: Option<[u8; 16]>,
    generation: u64,
    /// Number of the newest row that this registration was told to be decided.
    newest_row: u64,
    pair: u32,
    heartbeat: Duration,
    relay: RelayMode,
    /// Name of the name manager.
    manager: String,
    /// Boottime at which the name manager's clock was heard, and what it said, ms.
    clock: Option<(Duration, u64)>,
}

impl Serving {
    /// A server that has not registered.
    pub fn new(name: &str, cluster_id: Option<[u8; 16]>) -> Serving {
        Serving {
            name: name.to_owned(),
            state: Mutex::new(State { cluster_id, ..State::default() }),
            placement: watch::channel(Placement::default()).0,
            over: watch::channel(0).0,
            nudge: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The registration was accepted. Nothing is served before [`Serving::resolved`].
    pub fn registered(&self, told: &Registered) -> Result<()> {
        let server = told.server.clone().unwrap_or_default();
        let key = MacKey::from_slice(&told.key)?;
        let cluster_id =
            told.cluster_id[..].try_into().map_err(|_| Error::bad_request("a cluster id is 16 bytes"))?;
        {
            let mut state = self.state();
            state.lease.registered(server.incarnation, Duration::from_millis(told.lease_ms));
            state.resolved = false;
            state.newest_row = 0;
            state.standing = false;
            state.key = Some(key);
            state.cluster_id = Some(cluster_id);
            state.generation = told.generation;
            state.pair = server.pair;
            state.heartbeat = Duration::from_millis(told.heartbeat_ms.max(10));
            state.clock = Some((boottime(), told.now_ms));
            // Before the partner's address is known: it may be one not to dial.
            state.relay = told.relay();
        }
        self.placed(told.placement.clone());
        self.nudge.notify_one();
        Ok(())
    }

    /// Leaves the reign for a rebuild: no lease, no heartbeats, no rows, whatever is said to its last registration, until
    /// it registers again (R26).
    pub fn stand(&self) {
        let over = {
            let mut state = self.state();
            let over = state.lease.incarnation();
            state.lease.registered(0, Duration::ZERO);
            (state.resolved, state.standing) = (false, true);
            over
        };
        self.fenced(over);
    }

    /// Refuses unless this server stands for a rebuild: else what it holds may change while it is read.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub fn check_standing(&self) -> Result<()> {
        if self.state().standing {
            return Ok(());
        }
        Err(Error::new(
            Code::Unavailable,
            "this server does not stand for a rebuild",
            "ask again when it does",
        ))
    }

    /// It is known what became of all prepared sessions of before this registration (R10).
    pub fn resolved(&self, incarnation: u64) {
        let mut state = self.state();
        if state.lease.incarnation() == incarnation {
            state.resolved = true;
        }
    }

    /// A row was decided for this registration.
    pub fn decided(&self, incarnation: u64, row: u64) {
        let mut state = self.state();
        if state.lease.incarnation() == incarnation {
            state.newest_row = state.newest_row.max(row);
        }
    }

    /// How far this server is whose store has these cursors.
    pub fn reach(&self, cursors: crate::store::Cursors) -> Reach {
        let state = self.state();
        Reach {
            generation: cursors.generation,
            control_cursor: cursors.control,
            pair_cursor: cursors.pair,
            newest_row: state.newest_row,
            epoch: state.lease.known_epoch(),
            reported: state.resolved,
        }
    }

    /// Number and registration of the heartbeat that is sent now; none before the first registration.
    pub fn sending(&self) -> Option<(u64, u64)> {
        let mut state = self.state();
        let incarnation = state.lease.incarnation();
        (incarnation != 0).then(|| (state.lease.sending(boottime()), incarnation))
    }

    /// How often heartbeats go; none before the first registration.
    pub fn heartbeat(&self) -> Option<Duration> {
        let state = self.state();
        (state.lease.incarnation() != 0).then_some(state.heartbeat)
    }

    /// The name manager's word on a heartbeat.
    pub fn granted(&self, message: GrantMessage) {
        let grant = Grant {
            number: message.number,
            incarnation: message.incarnation,
            serve: message.serve,
            epoch: message.epoch,
            serve_from: Cursors { control: message.serve_from_control, pair: message.serve_from_pair },
            register_again: message.register_again,
            both_first: message.both_first,
        };
        let (effect, begins) = {
            let mut state = self.state();
            let (before, effect) = (state.lease.epoch(boottime()), state.lease.granted(grant));
            if effect != Effect::Ignored {
                state.clock = Some((boottime(), message.now_ms));
                state.relay = message.relay();
            }
            let after = state.lease.epoch(boottime());
            if before != after {
                tracing::info!(server = %self.name, ?before, ?after, "lease");
            }
            (effect, before.is_none() && after.is_some())
        };
        if begins {
            log::crash_point("handover.granted");
        }
        match effect {
            Effect::Ignored => {}
            Effect::RegisterAgain => self.fenced(message.incarnation),
            Effect::Held | Effect::None => self.placed(message.placement),
        }
    }

    fn placed(&self, placement: Option<Placement>) {
        if let Some(placement) = placement {
            self.placement.send_if_modified(|known| {
                let news = placement.epoch >= known.epoch && placement != *known;
                if news {
                    *known = placement;
                }
                news
            });
        }
    }

    /// The registration `incarnation` is over: no lease from now on.
    pub fn fenced(&self, incarnation: u64) {
        let mut state = self.state();
        if state.lease.incarnation() == incarnation {
            state.lease.drop_lease();
        }
        drop(state);
        self.over.send_if_modified(|over| {
            let news = incarnation > *over;
            *over = incarnation.max(*over);
            news
        });
    }

    /// The name manager that registers this server has this name.
    pub fn registers_at(&self, manager: &str) {
        manager.clone_into(&mut self.state().manager);
    }

    /// Whether the name manager that registered this server has this name.
    pub fn is_manager(&self, name: &str) -> bool {
        let state = self.state();
        !name.is_empty() && state.manager == name
    }

    /// When the partner's contents come through the name manager, as it last said.
    pub fn relay(&self) -> RelayMode {
        self.state().relay
    }

    /// Waits until the registration `incarnation` is over.
    pub async fn over(&self, incarnation: u64) {
        // The sender lives as long as this does.
        let _ = self.over.subscribe().wait_for(|over| *over >= incarnation).await;
    }

    /// Gives the lease of `epoch` up for a handover; a heartbeat goes at once, so that a grant made after
    /// this can be told from one made before.
    pub fn let_go(&self, epoch: u64) {
        self.state().lease.let_go(epoch);
        self.nudge.notify_one();
    }

    /// Serves nobody any more.
    pub fn stop(&self) {
        self.state().lease.stop();
    }

    /// The epoch to serve `pair` in, for a client that believes in epoch `asked`.
    ///
    /// # Errors
    /// `NOT_ACTING`, `PAST_EPOCH`, `HANDOVER`, `WRONG_PAIR`.
    pub fn admit(&self, pair: u32, asked: u64, cursors: Cursors) -> Result<u64> {
        let state = self.state();
        if pair != state.pair {
            return Err(wrong_pair());
        }
        state.lease.may_serve(boottime(), asked, cursors, state.resolved)
    }

    /// The epoch in which a client that knows it would be served now.
    pub fn serves(&self, cursors: Cursors) -> Option<u64> {
        let state = self.state();
        state.lease.may_serve(boottime(), state.lease.known_epoch(), cursors, state.resolved).ok()
    }

    /// The pair of this server; 0 before its first registration.
    pub fn pair(&self) -> u32 {
        self.state().pair
    }

    /// Refuses another pair than that of this server.
    pub fn check_pair(&self, pair: u32) -> Result<()> {
        if pair == self.state().pair { Ok(()) } else { Err(wrong_pair()) }
    }

    /// The epoch of the lease that holds now.
    pub fn epoch(&self) -> Option<u64> {
        self.state().lease.epoch(boottime())
    }

    /// Whether commits have to be prepared on both first (R27).
    pub fn both_first(&self) -> bool {
        self.state().lease.both_first()
    }

    /// Refuses what a member of a reign that is over sends.
    pub fn check_reign(&self, epoch: u64) -> Result<()> {
        let known = self.state().lease.known_epoch().max(self.placement.borrow().epoch);
        if epoch >= known {
            return Ok(());
        }
        Err(Error::new(
            Code::PastEpoch,
            format_args!("epoch {epoch} is over, the pair is in epoch {known}"),
            "wait for the name manager's word",
        ))
    }

    /// The registration; 0 before the first.
    pub fn incarnation(&self) -> u64 {
        self.state().lease.incarnation()
    }

    /// Generation of the feeds.
    pub fn generation(&self) -> u64 {
        self.state().generation
    }

    /// The cluster, once known.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.state().cluster_id
    }

    /// Waits until this server has come to act in a later epoch than `epoch`; gives that.
    pub async fn reign_after(&self, epoch: u64) -> u64 {
        let mut placement = self.placement.subscribe();
        let mine = |placement: &Placement| placement.epoch > epoch && placement.acting == self.name;
        // The sender lives as long as this does.
        placement.wait_for(mine).await.map_or(epoch, |placement| placement.epoch)
    }

    /// Name and address of the other member; empty address while unknown.
    pub fn partner(&self) -> Option<(String, String)> {
        let placement = self.placement.borrow();
        let partner = placement.members.iter().find(|member| member.name != self.name)?;
        Some((partner.name.clone(), partner.addr.clone()))
    }

    /// Waits until the log comes to know that the other member is away; forever if it knows already, as a
    /// member that catches up is away in that sense and can be talked to.
    pub async fn partner_lost(&self) {
        let mut placement = self.placement.subscribe();
        let known = placement.borrow_and_update().degraded;
        if known || placement.wait_for(|placement| placement.degraded).await.is_err() {
            std::future::pending().await
        }
    }

    /// Whether the log knows the other member to be away or stale (R19).
    pub fn degraded(&self) -> bool {
        self.placement.borrow().degraded
    }

    /// The bits of [`on`] for this server and for its partner.
    pub fn bits(&self) -> (u32, u32) {
        let primary = self.placement.borrow().name == self.name;
        if primary { (on::PRIMARY, on::BACKUP) } else { (on::BACKUP, on::PRIMARY) }
    }

    fn key_and_time(&self) -> Result<(MacKey, u64)> {
        let state = self.state();
        match (&state.key, state.clock) {
            (Some(key), Some((heard, said))) => {
                let since = boottime().saturating_sub(heard).as_millis();
                Ok((key.clone(), said.saturating_add(u64::try_from(since).unwrap_or(u64::MAX))))
            }
            _ => Err(Error::new(
                Code::Unavailable,
                "the server has not registered yet",
                "try again in a moment",
            )),
        }
    }

    /// What `signed` allows `user`, as of now (R15).
    ///
    /// # Errors
    /// `BAD_CAPABILITY` when it is missing, forged, expired, for another server or another user.
    pub fn capability(&self, signed: Option<&SignedCapability>, user: &str) -> Result<Capability> {
        let (key, now_ms) = self.key_and_time()?;
        let Some(signed) = signed else { return Err(bad_capability("the request has no capability")) };
        let capability = signed.verify(&self.name, &key, now_ms)?;
        if capability.user != user {
            return Err(bad_capability("the capability was given to another user"));
        }
        Ok(capability)
    }

    /// Key and user of a ticket.
    ///
    /// # Errors
    /// `BAD_CAPABILITY` when it is expired or for another server.
    pub fn ticket(&self, ticket: &[u8]) -> Result<(Vec<u8>, String)> {
        let (key, now_ms) = self.key_and_time()?;
        let said: Ticket = prost::Message::decode(ticket).map_err(|_| bad_capability("it is no ticket"))?;
        if said.server != self.name {
            return Err(bad_capability("the ticket is for another server"));
        }
        if said.expires_ms <= now_ms {
            return Err(bad_capability("the ticket has expired"));
        }
        Ok((key.for_ticket(ticket).0.to_vec(), said.user))
    }
}

fn bad_capability(what: &str) -> Error {
    Error::new(Code::BadCapability, what, "ask the name manager for a new one")
}

fn wrong_pair() -> Error {
    Error::new(Code::WrongPair, "this server belongs to another pair", "look the path up again")
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::Server;

    fn told(incarnation: u64) -> Registered {
        Registered {
            server: Some(Server { pair: 1, incarnation, ..Server::default() }),
            key: vec![7; 32],
            cluster_id: vec![1; 16],
            heartbeat_ms: 200,
            lease_ms: 800,
            now_ms: 1_000_000,
            ..Registered::default()
        }
    }

    #[test]
    fn a_client_is_served_only_by_a_registered_server_with_a_lease_that_knows_its_past() {
        let serving = Serving::new("ss1", None);
        assert_eq!(serving.sending(), None);
        let cursors = Cursors::default();
        assert!(serving.admit(0, 1, cursors).is_err());
        serving.registered(&told(3)).unwrap();
        let (number, incarnation) = serving.sending().unwrap();
        let grant = GrantMessage { number, incarnation, serve: true, epoch: 1, ..GrantMessage::default() };
        serving.granted(grant);
        assert_eq!(serving.admit(1, 1, cursors).unwrap_err().code, Code::NotActing);
        serving.resolved(2);
        assert_eq!(serving.admit(1, 1, cursors).unwrap_err().code, Code::NotActing);
        serving.resolved(3);
        assert_eq!(serving.admit(1, 1, cursors), Ok(1));
        assert_eq!(serving.admit(2, 1, cursors).unwrap_err().code, Code::WrongPair);
        serving.stop();
        assert_eq!(serving.admit(1, 1, cursors).unwrap_err().code, Code::NotActing);
    }

    #[test]
    fn r26_a_server_that_stands_for_a_rebuild_takes_no_grant_of_the_name_manager_before() {
        let serving = Serving::new("ss1", None);
        assert!(serving.check_standing().is_err());
        serving.registered(&told(3)).unwrap();
        serving.resolved(3);
        let (number, incarnation) = serving.sending().unwrap();
        let grant = GrantMessage { number, incarnation, serve: true, epoch: 1, ..GrantMessage::default() };
        serving.granted(grant.clone());
        assert!(serving.admit(1, 1, Cursors::default()).is_ok());
        serving.stand();
        serving.granted(grant);
        assert_eq!(serving.admit(1, 1, Cursors::default()).unwrap_err().code, Code::NotActing);
        assert_eq!((serving.sending(), serving.incarnation()), (None, 0));
        serving.check_standing().unwrap();
        serving.registered(&told(4)).unwrap();
        assert!(serving.check_standing().is_err());
    }

    #[test]
    fn i8_a_ticket_or_capability_for_another_server_or_user_is_worth_nothing_here() {
        let serving = Serving::new("ss1", None);
        let master = MacKey([9; 32]);
        let mut registered = told(3);
        registered.key = master.for_server("ss1").0.to_vec();
        assert!(serving.ticket(&[]).is_err(), "nobody is let in before the registration");
        serving.registered(&registered).unwrap();
        let ticket = |server: &str, expires_ms| {
            let ticket = Ticket { user: "ann".into(), expires_ms, nonce: vec![1; 16], server: server.into() };
            prost::Message::encode_to_vec(&ticket)
        };
        let good = ticket("ss1", 2_000_000);
        let (key, user) = serving.ticket(&good).unwrap();
        assert_eq!((key, user), (master.for_server("ss1").for_ticket(&good).0.to_vec(), "ann".to_owned()));
        for bad in [ticket("ss2", 2_000_000), ticket("ss1", 1_000_000), vec![0xff]] {
            assert_eq!(serving.ticket(&bad).unwrap_err().code, Code::BadCapability);
        }
        let capability = Capability { user: "ann".into(), expires_ms: 2_000_000, ..Capability::default() };
        let signed = SignedCapability::sign(&capability, &master, &["ss1"]);
        assert!(serving.capability(Some(&signed), "ann").is_ok());
        assert_eq!(serving.capability(Some(&signed), "bob").unwrap_err().code, Code::BadCapability);
        assert_eq!(serving.capability(None, "ann").unwrap_err().code, Code::BadCapability);
    }
}
