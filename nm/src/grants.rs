//! Answers a heartbeat: a lease, or why there is none.

use crate::live::{Beat, Leaving, Live};
use crate::manager::Manager;
use crate::placement::placement;
use nm_core::lease::{Ask, Refusal, ServeFrom};
use nm_core::state::State;
use types::Result;
use types::message::member::GrantMessage;

/// After so many failed handovers the acting member prepares on both first (R27).
const TRIES_BEFORE_BOTH: u32 = 3;

impl Manager {
    /// Decides on `beat` with the state as it is now. The caller has confirmed the leadership after the
    /// heartbeat arrived; the lock on `live` keeps proposals that would contradict the grant away (R3).
    pub(crate) fn grant(&self, live: &mut Live, name: &str, beat: &Beat) -> Result<GrantMessage> {
        let view = self.view()?;
        let state = State::new(&view);
        let now = self.now();
        let mut message = GrantMessage {
            number: beat.number,
            incarnation: beat.incarnation,
            now_ms: self.proposer.time(),
            ..GrantMessage::default()
        };
        let known = state.server(name)?;
        let Some(server) = known.filter(|server| server.incarnation == beat.incarnation && !server.failed)
        else {
            message.register_again = true;
            return Ok(message);
        };
        let Some(pair) = state.pair(server.pair)? else { return Ok(message) };
        message.epoch = pair.epoch;
        // Only for a handover that can be: with the other member away every write would wait for nobody.
        let other = state.server(pair.partner_of(name))?;
        let awaited = other.is_some_and(|other| other.fresh && !other.failed);
        message.both_first = pair.handover_tries >= TRIES_BEFORE_BOTH && pair.acting == name && awaited;
        if live.leaving(&server) != Some(Leaving::Released) {
            let ends = ServeFrom { control: state.feed_end(0)?, pair: pair.feed_end };
            let ask = Ask {
                pair: &pair,
                server: &server,
                incarnation: beat.incarnation,
                arrival: beat.arrival,
                ends,
            };
            match live.leases.ask(now, ask) {
                Ok(grant) => {
                    message.serve = true;
                    message.serve_from_control = grant.serve_from.control;
                    message.serve_from_pair = grant.serve_from.pair;
                    if !grant.extended {
                        // It serves once its cursors are there (R9), and clients wait for that.
                        self.feeds.hurry(0, grant.serve_from.control);
                        self.feeds.hurry(pair.id, grant.serve_from.pair);
                        tracing::info!(server = name, epoch = grant.epoch, "lease");
                    }
                }
                Err(Refusal::RegisterAgain) => message.register_again = true,
                Err(refusal) => tracing::debug!(server = name, ?refusal, "no lease"),
            }
        }
        message.relay = self.settings.relay().into();
        message.placement = Some(placement(state, live, &pair, now)?);
        Ok(message)
    }
}
