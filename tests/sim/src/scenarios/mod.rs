//! Scripted interleavings: for each rule that tells of one, a scenario of its name. Each ends as a random seed does:
//! everything is mended, then all invariants are judged; and all through it nobody may serve beside somebody else.

/// What has to be so may have to be asked of the stage first.
macro_rules! check {
    ($stage:expr, $is_so:expr, $what:expr $(,)?) => {{
        let is_so = $is_so;
        $stage.check(is_so, $what);
    }};
}

mod feed;
mod hosts;
mod reigns;
mod stage;
mod storage;
mod writes;

pub use stage::Stage;

use crate::run::{Outcome, on_tape};

/// A script.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name, with the rule that it is about.
    pub name: &'static str,
    run: fn(&mut Stage),
}

/// Those of one file.
type Table = &'static [(&'static str, fn(&mut Stage))];

/// All of them.
pub fn all() -> Vec<Scenario> {
    let tables: [Table; 5] = [reigns::ALL, writes::ALL, feed::ALL, storage::ALL, hosts::ALL];
    tables.into_iter().flatten().map(|(name, run)| Scenario { name, run: *run }).collect()
}

/// Plays a scenario; `seed` draws what the network and the disks do.
pub fn play(scenario: Scenario, seed: u64, log: &str) -> Outcome {
    on_tape(seed, log.to_owned(), move |timeline, outcome| {
        let mut stage = Stage::begin(scenario.name, seed, timeline.clone())?;
        (scenario.run)(&mut stage);
        let trace = stage.cluster.network.trace();
        let (violations, history) = stage.end();
        outcome.violations.extend(violations);
        outcome.requests = (history.requests().len(), 0);
        outcome.print = (trace, history.print());
        Ok(())
    })
}
