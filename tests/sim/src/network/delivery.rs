//! What arrives when: pieces of streams, their ends, and the answers to who tries to connect.

use super::{End, Item, Network, Outcome, Pipe, SYN_TIMEOUT, State};
use crc_fast::{CrcAlgorithm, checksum};
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::task::Waker;

impl State {
    pub(super) fn deliver_items(&mut self) -> Vec<Waker> {
        let (now, mut wakers) = (self.now, Vec::new());
        let ids: Vec<u64> = self.pipes.keys().copied().collect();
        for id in ids {
            while let Some(pipe) = self.pipes.get(&id) {
                let (from, to) = (pipe.from, pipe.to);
                let is_due = pipe.flight.front().is_some_and(|(due, _)| *due <= now);
                if !is_due || self.is_cut(from, to) || self.is_off(to) || self.is_off(from) {
                    break;
                }
                let Some(pipe) = self.pipes.get_mut(&id) else { break };
                let Some((_, item)) = pipe.flight.pop_front() else { break };
                wakers.extend(pipe.reader.take());
                match item {
                    // Nothing is read behind the end.
                    Item::Data(data) if pipe.end == Some(End::Reset) => {
                        pipe.bytes = pipe.bytes.saturating_sub(data.len());
                    }
                    Item::Data(data) if pipe.reader_gone => {
                        pipe.bytes = pipe.bytes.saturating_sub(data.len());
                        let back = pipe.back;
                        // The system of the host answers for a process that is gone.
                        if !pipe.writer_gone {
                            self.send(back, Item::Reset);
                        }
                    }
                    Item::Data(data) => {
                        let crc = checksum(CrcAlgorithm::Crc64Nvme, &data);
                        tracing::trace!(pipe = id, %from, %to, bytes = data.len(), crc, "delivered");
                        pipe.arrived.extend(&data);
                        self.note(&[now, id, data.len() as u64, crc]);
                    }
                    Item::Fin => pipe.end = pipe.end.or(Some(End::Fin)),
                    Item::Reset => {
                        pipe.end = Some(End::Reset);
                        pipe.arrived.clear();
                        wakers.extend(pipe.writer.take());
                        let back = pipe.back;
                        // What this side would have written is refused from now on.
                        if let Some(back) = self.pipes.get_mut(&back).filter(|back| !back.lingers) {
                            back.reader_gone = true;
                            back.flight.clear();
                            back.bytes = 0;
                            wakers.extend(back.writer.take());
                        }
                        break;
                    }
                }
            }
            let over = |pipe: &Pipe| pipe.reader_gone && pipe.writer_gone;
            if self.pipes.get(&id).is_some_and(|pipe| over(pipe) && pipe.flight.is_empty()) {
                self.pipes.remove(&id);
            }
        }
        wakers
    }

    /// A host that was switched off and is back does not know the streams that it had: its system says so to whoever
    /// asks whether they are alive, as each host's does after a silence ([`net::bounds::KEEPALIVE_IDLE`]).
    pub(super) fn ask_the_silent(&mut self) {
        let half_open = |pipe: &Pipe| {
            let is_told =
                self.pipes.get(&pipe.back).is_none_or(|back| back.end.is_some() || !back.flight.is_empty());
            let is_mute = self.is_off(pipe.from) || self.is_off(pipe.to);
            let is_cut = self.is_cut(pipe.from, pipe.to) || self.is_cut(pipe.to, pipe.from);
            pipe.reader_gone && !pipe.writer_gone && !is_told && !is_mute && !is_cut
        };
        let backs: Vec<u64> =
            self.pipes.values().filter(|pipe| half_open(pipe)).map(|pipe| pipe.back).collect();
        backs.into_iter().for_each(|back| self.send(back, Item::Reset));
    }

    pub(super) fn answer_tries(&mut self, network: &Network) -> Vec<Waker> {
        let (now, mut wakers) = (self.now, Vec::new());
        let ids: Vec<u64> = self.tries.keys().copied().collect();
        for id in ids {
            let Some(waiting) = self.tries.get(&id).filter(|waiting| waiting.outcome.is_none()) else {
                continue;
            };
            let (from, to, due, is_probe) = (waiting.from, waiting.to, waiting.due, waiting.is_probe);
            let is_silent = self.is_cut(from, to.ip()) || self.is_cut(to.ip(), from) || self.is_off(to.ip());
            if due > now || (is_silent && now < due + SYN_TIMEOUT) {
                continue;
            }
            let outcome = match self.listeners.get(&to).cloned() {
                _ if is_silent => Outcome::Silent,
                None => Outcome::Refused,
                Some(_) if is_probe => Outcome::Answered,
                Some(queue) => {
                    self.next_port = self.next_port.checked_add(1).unwrap_or(40_000);
                    let (near, far) = self.open(SocketAddr::new(from, self.next_port), to, network);
                    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                    queue.streams.push_back(far);
                    wakers.extend(queue.waker.take());
                    Outcome::Open(Box::new(near))
                }
            };
            self.note(&[now, id, u64::from(to.port())]);
            if let Some(waiting) = self.tries.get_mut(&id) {
                waiting.outcome = Some(outcome);
                wakers.extend(waiting.waker.take());
            }
        }
        wakers
    }
}
