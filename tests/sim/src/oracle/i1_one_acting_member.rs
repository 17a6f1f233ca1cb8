//! I1 One acting member. At no instant would two members of the pair both serve a request, and whoever serves does so in
//! no earlier epoch than anybody did before. Looked at in each tick, with each server's own clock and its own lease: not
//! what servers say of themselves later, but what they would do for whoever asked now.

use super::Violation;
use crate::network::Tick;

const INVARIANT: &str = "I1 one acting member";

/// Who has served in which epoch so far.
#[derive(Clone, Debug, Default)]
pub struct Reigns {
    /// The highest epoch in which anybody served, and who.
    highest: Option<(u64, String)>,
    /// It was told once; it goes on as long as the leases do.
    told: bool,
}

impl Reigns {
    /// Takes who would serve at `now`, and in which epoch; says once what may not be.
    pub fn look(&mut self, now: Tick, members: &[(&str, Option<u64>)]) -> Option<Violation> {
        let serving: Vec<(&str, u64)> =
            members.iter().filter_map(|(name, epoch)| Some((*name, (*epoch)?))).collect();
        let wrong = match serving[..] {
            [(one, first), (other, second), ..] => {
                Some(format!("{one} serves in epoch {first} and {other} in epoch {second}"))
            }
            _ => serving.iter().find_map(|(name, epoch)| self.judge(name, *epoch)),
        };
        for (name, epoch) in serving {
            if self.highest.as_ref().is_none_or(|(highest, _)| epoch > *highest) {
                self.highest = Some((epoch, name.to_owned()));
            }
        }
        let wrong = wrong.filter(|_| !std::mem::replace(&mut self.told, true))?;
        Some(Violation { invariant: INVARIANT, what: format!("at {now} ms {wrong}") })
    }

    fn judge(&self, name: &str, epoch: u64) -> Option<String> {
        let (highest, by) = self.highest.as_ref()?;
        if epoch < *highest {
            return Some(format!("{name} serves in epoch {epoch}, after {by} did in epoch {highest}"));
        }
        let same = epoch == *highest && name != by;
        same.then(|| format!("{name} serves in epoch {epoch}, in which {by} did before"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(history: &[(Option<u64>, Option<u64>)]) -> Vec<String> {
        let mut reigns = Reigns::default();
        let look = |(now, (one, other)): (usize, &(Option<u64>, Option<u64>))| {
            reigns.look(now as Tick, &[("ss1", *one), ("ss1_backup", *other)])
        };
        history.iter().enumerate().filter_map(look).map(|found| found.what).collect()
    }

    #[test]
    fn one_after_the_other_in_rising_epochs_is_as_it_should_be() {
        let fine =
            [(None, None), (Some(1), None), (None, None), (Some(1), None), (None, Some(2)), (Some(4), None)];
        assert!(run(&fine).is_empty());
    }

    #[test]
    fn two_at_once_are_found_and_told_once() {
        let found = run(&[(Some(1), None), (Some(1), Some(2)), (Some(1), Some(2))]);
        assert_eq!(found, ["at 1 ms ss1 serves in epoch 1 and ss1_backup in epoch 2"]);
    }

    #[test]
    fn who_comes_back_in_a_past_epoch_is_found() {
        assert_eq!(run(&[(Some(1), None), (None, Some(2)), (Some(1), None)]).len(), 1);
    }

    #[test]
    fn two_in_one_epoch_are_found_also_one_after_the_other() {
        assert_eq!(run(&[(Some(1), None), (None, Some(1))]).len(), 1);
    }
}
