//! Who acts in each pair, as the name manager said last.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use types::message::manager::{MemberAddr, Placement};

/// What is known of a pair; nothing before the first word about it.
pub(crate) type Known = Option<Arc<Placement>>;

/// Bounded by the number of pairs in the cluster.
#[derive(Default)]
pub(crate) struct Places {
    pairs: Mutex<HashMap<u32, watch::Sender<Known>>>,
}

impl Places {
    /// Takes what the name manager says. An older epoch than the known one is not believed.
    pub(crate) fn learn(&self, placement: Placement) {
        self.with(placement.pair, |sender| {
            sender.send_if_modified(|known| {
                let newer = supersedes(known.as_deref(), &placement);
                if newer {
                    *known = Some(Arc::new(placement));
                }
                newer
            });
        });
    }

    /// What is known of `pair`, and every change of it.
    pub(crate) fn watch(&self, pair: u32) -> watch::Receiver<Known> {
        self.with(pair, |sender| sender.subscribe())
    }

    /// The pairs that anything is known of.
    pub(crate) fn pairs(&self) -> Vec<u32> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    fn with<T>(&self, pair: u32, act: impl FnOnce(&watch::Sender<Known>) -> T) -> T {
        let mut pairs = self.pairs.lock().unwrap_or_else(PoisonError::into_inner);
        act(pairs.entry(pair).or_insert_with(|| watch::channel(None).0))
    }
}

fn supersedes(known: Option<&Placement>, new: &Placement) -> bool {
    known.is_none_or(|known| new.epoch >= known.epoch && known != new)
}

/// The acting member and its address, if there is one that can be dialled.
pub(crate) fn acting(placement: &Placement) -> Option<&MemberAddr> {
    placement
        .members
        .iter()
        .find(|member| member.name == placement.acting && !member.name.is_empty() && !member.addr.is_empty())
}

/// Whether what was asked of the acting member of `old` may not be answered any more: another one acts, or
/// the same one since a later start. That nobody acts for a moment is no reason: it may act again.
pub(crate) fn reign_over(old: &Placement, new: &Placement) -> bool {
    if new.epoch != old.epoch {
        return true;
    }
    match (acting(old), acting(new)) {
        (Some(old), Some(new)) => old.name != new.name || old.incarnation != new.incarnation,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(epoch: u64, acting: &str, incarnation: u64) -> Placement {
        let member = |name: &str| MemberAddr { name: name.into(), addr: format!("{name}:1"), incarnation };
        Placement {
            pair: 1,
            epoch,
            acting: acting.into(),
            members: vec![member("ss1"), member("ss1_backup")],
            ..Placement::default()
        }
    }

    #[test]
    fn a_late_word_of_a_past_epoch_does_not_lead_back_to_the_old_server() {
        let places = Places::default();
        let watch = places.watch(1);
        places.learn(placement(2, "ss1_backup", 1));
        places.learn(placement(1, "ss1", 1));
        assert_eq!(watch.borrow().as_ref().map(|known| known.epoch), Some(2));
        places.learn(placement(2, "", 1));
        assert_eq!(watch.borrow().as_ref().map(|known| known.acting.clone()), Some(String::new()));
    }

    #[test]
    fn requests_are_abandoned_when_another_server_acts_and_not_before() {
        let old = placement(1, "ss1", 1);
        assert!(reign_over(&old, &placement(2, "ss1_backup", 1)));
        assert!(reign_over(&old, &placement(2, "", 1)), "the epoch is over");
        assert!(reign_over(&old, &placement(1, "ss1", 2)), "it started anew");
        assert!(!reign_over(&old, &placement(1, "", 1)), "a lease may come back");
        let degraded = Placement { degraded: true, ..old.clone() };
        assert!(!reign_over(&old, &degraded));
    }

    #[test]
    fn a_member_without_an_address_cannot_be_asked() {
        let mut nobody = placement(1, "ss1", 1);
        assert_eq!(acting(&nobody).map(|member| member.name.as_str()), Some("ss1"));
        nobody.members[0].addr.clear();
        assert!(acting(&nobody).is_none());
        assert!(acting(&Placement::default()).is_none());
    }
}
