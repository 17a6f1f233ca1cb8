//! What a scripted scenario can do to a cluster and ask of it.

use crate::cluster::{BACKUP, CLIENTS, Cluster, NM, SS1};
use crate::host::Condition;
use crate::judge::judge;
use crate::load::{self, Ask, Came, History, Value};
use crate::network::Tick;
use crate::oracle::{Violation, i5_convergence};
use crate::timeline::Timeline;
use client::Client;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use types::message::manager::ServerStatus;
use types::{Error, Result};

/// The client that is patient.
pub const A: usize = 0;
/// The one that gives up sooner.
pub const B: usize = 1;
/// How long they wait for a lost server.
const PATIENCE: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(5)];
/// How long anything that a scenario waits for may take, ms.
pub const LONG: Tick = 60_000;

/// Something that a client was asked and may not have answered.
pub struct Asked<T>(Arc<Mutex<Option<T>>>);

impl<T> Asked<T> {
    /// Whether it is answered.
    pub fn is_done(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A cluster at rest with two clients, and what a scenario finds.
pub struct Stage {
    /// The cluster.
    pub cluster: Cluster,
    /// What the clients asked and were told.
    pub history: History,
    clients: [Client; 2],
    name: &'static str,
    found: Vec<Violation>,
    /// The name manager is made anew in the end.
    pub rebuild: bool,
}

impl Stage {
    /// Starts a cluster and waits until it rests.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub fn begin(name: &'static str, seed: u64, timeline: Timeline) -> Result<Stage> {
        let mut cluster = Cluster::new(seed, 3, timeline)?;
        for host in [NM, SS1, BACKUP] {
            cluster.start(host);
            cluster.pass(20);
        }
        cluster.pass(500);
        let slots: [Arc<Mutex<Option<Client>>>; 2] = Default::default();
        for (number, slot) in slots.iter().enumerate() {
            let (client, slot) = (cluster.client(PATIENCE[number]), slot.clone());
            cluster.hosts[CLIENTS + number].start(async move {
                let client = client.await?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
                std::future::pending().await
            });
        }
        let get = |number: usize| slots[number].lock().unwrap_or_else(PoisonError::into_inner).clone();
        cluster.wait(LONG, |_| get(A).is_some() && get(B).is_some());
        let (Some(a), Some(b)) = (get(A), get(B)) else {
            return Err(Error::internal("the clients cannot connect"));
        };
        let (history, found) = (History::default(), Vec::new());
        let mut stage = Stage { cluster, history, clients: [a, b], name, found, rebuild: false };
        stage.settle();
        for folder in ["/shared", "/own"] {
            stage.ask(A, move |client, _| async move { client.mkdir(folder, true, None).await });
        }
        Ok(stage)
    }

    /// Mends everything, and judges.
    pub fn end(mut self) -> (Vec<Violation>, History) {
        self.mend();
        for host in [NM, SS1, BACKUP] {
            self.cluster.hosts[host].go_on();
            if matches!(self.cluster.hosts[host].condition(), Condition::Down | Condition::Off) {
                self.cluster.start(host);
            }
        }
        // What was asked and not answered ends in its time.
        self.pass(25_000);
        for client in [A, B] {
            self.cluster.hosts[CLIENTS + client].kill();
        }
        self.found.extend(judge(&mut self.cluster, &self.history, self.rebuild));
        (self.found, self.history)
    }

    /// Notes that something is not as it has to be.
    pub fn check(&mut self, is_so: bool, what: &str) {
        if !is_so {
            let what = format!("at {} ms: {what}", self.cluster.now());
            self.cluster.timeline.note(self.cluster.now(), &format!("WRONG: {what}"));
            self.found.push(Violation { invariant: self.name, what });
        }
    }

    // ---- time

    /// So much time passes.
    pub fn pass(&mut self, ticks: Tick) {
        self.cluster.pass(ticks);
    }

    /// Time passes until `is_so`, at most `most`; else that is noted. Whether it came to be so.
    pub fn until(&mut self, what: &str, most: Tick, is_so: impl FnMut(&mut Cluster) -> bool) -> bool {
        let came = self.cluster.wait(most, is_so);
        self.check(came, &format!("waited in vain for {what}"));
        came
    }

    /// Time passes until that host serves.
    pub fn until_serves(&mut self, host: usize, most: Tick) {
        let name = self.cluster.hosts[host].name.clone();
        self.until(&format!("{name} to serve"), most, |cluster| cluster.serves(host).is_some());
    }

    /// Time passes until the name manager has that host for caught up.
    pub fn until_fresh(&mut self, host: usize, most: Tick) {
        const LOOK: Tick = 20;
        let name = self.cluster.hosts[host].name.clone();
        for _ in 0..most / LOOK {
            let status = self.ask(B, |client, _| async move { client.status().await });
            let is_fresh =
                |server: &ServerStatus| server.name == name && server.state == "alive" && server.fresh;
            if matches!(&status, Some(Ok(status)) if status.servers.iter().any(is_fresh)) {
                return;
            }
            self.pass(LOOK);
        }
        self.check(false, &format!("{name} does not catch up"));
    }

    /// Time passes until everything rests.
    pub fn settle(&mut self) {
        // What has just happened is noticed first.
        self.pass(300);
        for _ in 0..LONG / 200 {
            let status = self.ask(A, |client, _| async move { client.status().await });
            if matches!(&status, Some(Ok(status)) if i5_convergence::is_settled(status)) {
                return;
            }
            self.pass(200);
        }
        self.check(false, "the cluster does not come to rest");
    }

    // ---- faults

    /// `kill -9`.
    pub fn kill(&mut self, host: usize) {
        self.note("kill", host);
        self.cluster.hosts[host].kill();
    }

    /// Starts its server.
    pub fn start(&mut self, host: usize) {
        self.cluster.start(host);
    }

    /// It loses power; what was not synced is lost or not, as `seed` says.
    pub fn cut_power(&mut self, host: usize, seed: u64) {
        self.note("power cut of", host);
        self.cluster.hosts[host].cut_power(seed);
    }

    /// SIGSTOP.
    pub fn pause(&mut self, host: usize) {
        self.note("stop", host);
        self.cluster.hosts[host].pause();
    }

    /// SIGCONT.
    pub fn go_on(&mut self, host: usize) {
        self.note("go on", host);
        self.cluster.hosts[host].go_on();
    }

    /// Nothing gets from either to the other.
    pub fn cut(&mut self, one: usize, other: usize) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing gets from one to the other.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.note("nothing gets to others any more from", from);
        self.cluster.network.cut(self.cluster.hosts[from].ip, self.cluster.hosts[to].ip);
    }

    /// All their streams break.
    pub fn break_streams(&mut self, one: usize, other: usize) {
        self.note("streams break to", other);
        self.cluster.network.break_streams(self.cluster.hosts[one].ip, self.cluster.hosts[other].ip);
    }

    /// Breaks all streams between two hosts, and what one of them has sent arrives so much later.
    pub fn break_streams_late(&mut self, from: usize, to: usize, late: Tick) {
        let names = [from, to].map(|host| self.cluster.hosts[host].name.clone());
        self.cluster
            .timeline
            .note(self.cluster.now(), &format!("what {} has sent to {} is late", names[0], names[1]));
        let [from, to] = [from, to].map(|host| self.cluster.hosts[host].ip);
        self.cluster.network.break_streams_late(from, to, late);
    }

    /// Every way is mended.
    pub fn mend(&mut self) {
        self.cluster.network.mend();
    }

    fn note(&self, what: &str, host: usize) {
        self.cluster.timeline.note(self.cluster.now(), &format!("{what} {}", self.cluster.hosts[host].name));
    }

    // ---- clients

    /// The host of a client.
    pub fn host_of(&self, client: usize) -> usize {
        CLIENTS + client
    }

    /// Has a client begin something.
    pub fn begin_ask<T, F>(&mut self, client: usize, ask: impl FnOnce(Client, History) -> F) -> Asked<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let asked = Asked(Arc::default());
        let (slot, doing) = (asked.0.clone(), ask(self.clients[client].clone(), self.history.clone()));
        self.cluster.hosts[CLIENTS + client].within(|runtime| {
            runtime.spawn(async move {
                let done = doing.await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
            })
        });
        asked
    }

    /// Waits for an answer; none if there is none in time.
    pub fn answer<T>(&mut self, asked: &Asked<T>, most: Tick) -> Option<T> {
        self.cluster.wait(most, |_| asked.is_done());
        asked.take()
    }

    /// Has a client do something, and waits for it.
    pub fn ask<T, F>(&mut self, client: usize, ask: impl FnOnce(Client, History) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let asked = self.begin_ask(client, ask);
        self.answer(&asked, LONG)
    }

    /// Begins a write; the content, if it is known to be done.
    pub fn begin_write(&mut self, client: usize, path: &str, sync: bool) -> Asked<Option<Value>> {
        let (path, most) = (path.to_owned(), PATIENCE[client]);
        self.begin_ask(client, move |it, history| async move {
            load::write(&it, client, &path, sync, &history, most).await
        })
    }

    /// Writes, on one member.
    pub fn write(&mut self, client: usize, path: &str) -> Option<Value> {
        let asked = self.begin_write(client, path, false);
        self.answer(&asked, LONG).flatten()
    }

    /// Writes, on both.
    pub fn write_sync(&mut self, client: usize, path: &str) -> Option<Value> {
        let asked = self.begin_write(client, path, true);
        self.answer(&asked, LONG).flatten()
    }

    /// Writes something large, on one member.
    pub fn write_big(&mut self, client: usize, path: &str) -> Value {
        let value = self.history.new_big_value();
        let (path, most) = (path.to_owned(), PATIENCE[client]);
        self.ask(client, move |it, history| async move {
            load::write_value(&it, client, &path, value, false, &history, most).await
        });
        value
    }

    /// Begins a read; the content (none: no such file), if it is known.
    pub fn begin_read(&mut self, client: usize, path: &str) -> Asked<Option<Option<Value>>> {
        let (path, most) = (path.to_owned(), PATIENCE[client]);
        self.begin_ask(client, move |it, history| async move {
            load::read(&it, client, &path, &history, most).await
        })
    }

    /// Reads.
    pub fn read(&mut self, client: usize, path: &str) -> Option<Option<Value>> {
        let asked = self.begin_read(client, path);
        self.answer(&asked, LONG).flatten()
    }

    /// Begins a removal past the trash; whether it is known to be done.
    pub fn begin_remove(&mut self, client: usize, path: &str) -> Asked<bool> {
        let (path, most) = (path.to_owned(), PATIENCE[client]);
        self.begin_ask(client, move |it, history| async move {
            load::remove(&it, client, &path, true, &history, most).await
        })
    }

    /// Removes past the trash.
    pub fn remove(&mut self, client: usize, path: &str) -> bool {
        let asked = self.begin_remove(client, path);
        self.answer(&asked, LONG).unwrap_or(false)
    }

    /// Gives a file another name and removes it there past the trash: its row tells nothing of its first name.
    pub fn move_and_remove(&mut self, client: usize, path: &str) {
        let (from, to, most) = (path.to_owned(), format!("{path}-moved"), PATIENCE[client]);
        let removed = self.ask(client, move |it, history| async move {
            // To whoever looks by its first name it is removed.
            let request = history.begin(client, &from, Ask::Remove, most);
            let done = async {
                it.rename(&from, &to, &client::MoveOptions::default()).await?;
                it.remove(&to, &client::RemoveOptions { now: true, ..Default::default() }).await
            };
            let done = done.await;
            let came = done.as_ref().map_or_else(|error| Came::Unknown(error.code), |()| Came::Removed(true));
            history.end(request, came);
            done
        });
        self.check(matches!(removed, Some(Ok(()))), "a file cannot be moved and removed");
    }

    /// Removes a folder with all that is in it; files in it are of no concern any more.
    pub fn remove_tree(&mut self, client: usize, path: &str) {
        let path = path.to_owned();
        let options = client::RemoveOptions { recursive: true, now: true, ..Default::default() };
        let removed = self.ask(client, move |it, _| async move { it.remove(&path, &options).await });
        self.check(matches!(removed, Some(Ok(()))), "a folder cannot be removed");
    }

    /// Has a member take over as an operator does.
    pub fn switch_to(&mut self, host: usize) {
        let to = self.cluster.hosts[host].name.clone();
        let switched = self.ask(A, move |client, _| async move { client.switchover("ss1", &to).await });
        let why = match &switched {
            Some(Err(error)) => error.message.clone(),
            _ => "no answer".to_owned(),
        };
        self.check(matches!(switched, Some(Ok(_))), &format!("a switchover is not done: {why}"));
    }
}
