//! The disk as a power cut leaves it at each operation of a Raft log (append, vote, truncation, purge) and of the state
//! behind it (checkpoints): unsynced writes lost, torn, or kept in any order. What was acknowledged is there.

use std::collections::BTreeMap;
use std::io;

use log::sim::{Count, SimDisk};
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::crash::{check, propose_until_it_stops};
use super::support::{Media, Member, Random, StateFile};
use super::truncate::{Opened, entry, id, open, open_on};
use crate::logstore::LogStore;
use crate::types::{Entry, Types, Vote};

/// Images of a disk that are looked at for each point of a cut.
const IMAGES: u64 = 3;

/// What is known of a log.
#[derive(Clone, Debug, Default)]
struct Known {
    vote: Option<Vote>,
    /// The entry that may have been purged last is before this one; none that is here may be missing.
    entries: Vec<Entry>,
    /// Entries before this one may be there or not.
    first: u64,
}

impl Known {
    fn next(&self) -> u64 {
        self.entries.last().map_or(self.first, |entry| entry.log_id.index + 1)
    }
}

/// One operation, as openraft asks for it.
#[derive(Clone, Debug)]
enum Step {
    Append(Vec<Entry>),
    Vote(Vote),
    Truncate(u64),
    Purge(u64),
}

impl Step {
    /// Draws one that fits to what there is.
    fn draw(random: &mut Random, known: &Known, term: u64) -> Step {
        let (next, held) = (known.next(), known.entries.len() as u64);
        match random.below(6) {
            0 => Step::Vote(Vote::new_committed(term, 1)),
            1 if held > 4 => Step::Truncate(next - 1 - random.below(4)),
            2 if held > 25 => Step::Purge(known.first + random.below(held - 10)),
            _ => Step::Append((next..next + 1 + random.below(12)).map(|index| entry(term, index)).collect()),
        }
    }

    async fn run(&self, store: &mut LogStore) -> io::Result<()> {
        match self.clone() {
            Step::Append(entries) => append(store, entries).await,
            Step::Vote(vote) => store.save_vote(&vote).await,
            Step::Truncate(last) => {
                let last = store.try_get_log_entries(last..=last).await?.pop().map(|entry| entry.log_id);
                store.truncate_after(last).await
            }
            Step::Purge(upto) => {
                let upto = store.try_get_log_entries(upto..=upto).await?.pop().expect("it is there").log_id;
                store.purge(upto).await
            }
        }
    }

    /// What is known once it is done.
    fn done(&self, known: &Known) -> Known {
        let mut known = known.clone();
        match self {
            Step::Append(entries) => known.entries.extend(entries.iter().cloned()),
            Step::Vote(vote) => known.vote = Some(*vote),
            Step::Truncate(last) => known.entries.retain(|entry| entry.log_id.index <= *last),
            Step::Purge(upto) => {
                known.entries.retain(|entry| entry.log_id.index > *upto);
                known.first = upto + 1;
            }
        }
        known
    }

    /// Whether what is found may be what a cut in the middle of it leaves.
    fn may_leave(&self, before: &Known, found: &[Entry]) -> bool {
        let after = self.done(before);
        let count = |known: &Known| known.entries.len();
        let is_tail = |known: &Known| ends_as(found, &known.entries);
        match self {
            Step::Append(_) => {
                (count(before)..=count(&after)).any(|some| ends_as(found, &after.entries[..some]))
            }
            _ => is_tail(before) || is_tail(&after),
        }
    }
}

/// Whether `found` ends with all of `entries`; what stands before them was to be purged.
fn ends_as(found: &[Entry], entries: &[Entry]) -> bool {
    found.ends_with(entries) && (!entries.is_empty() || found.is_empty())
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (done, flushed) = Types::oneshot();
    store.append(entries, IOFlushed::signal(done)).await?;
    flushed.await.map_err(io::Error::other)?
}

/// Runs steps until the disk stops; what was known before the last one, the last one, and whether it may have been in the
/// purge before it, which nobody waits for.
async fn until_it_stops(store: &mut LogStore, random: &mut Random) -> (Known, Step, bool) {
    let (mut known, mut purges) = (Known::default(), false);
    for term in 1.. {
        let step = Step::draw(random, &known, term);
        if step.run(store).await.is_err() {
            return (known, step, purges);
        }
        purges = matches!(step, Step::Purge(_));
        known = step.done(&known);
    }
    unreachable!("the disk stops")
}

#[tokio::test]
async fn a_power_cut_at_any_operation_of_the_log_leaves_what_was_acknowledged() {
    let mut reached = BTreeMap::new();
    for at in 1..400 {
        let disk = SimDisk::new();
        disk.freeze_at(Count::Ops, at);
        let mut random = Random::new(at);
        let (known, step, purges) = match open_on(&disk) {
            Ok(Opened { mut store, .. }) => until_it_stops(&mut store, &mut random).await,
            Err(_) => (Known::default(), Step::Append(Vec::new()), false),
        };
        assert!(disk.frozen(), "operation {at} was not reached");
        let kind = if purges { "Purge".to_owned() } else { format!("{step:?}") };
        *reached.entry(kind.split('(').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
        for seed in 0..IMAGES {
            let mut left = open(&disk.crash(at * IMAGES + seed));
            let vote = left.store.read_vote().await.unwrap();
            let wanted = [known.vote, step.done(&known).vote];
            assert!(wanted.contains(&vote), "operation {at}, image {seed}: {vote:?} instead of {wanted:?}");
            let found = left.store.try_get_log_entries(..).await.unwrap();
            let indices: Vec<u64> = found.iter().map(|entry| entry.log_id.index).collect();
            assert!(
                step.may_leave(&known, &found),
                "operation {at}, image {seed}, in {step:?}: {indices:?} of {known:?}"
            );
            // And it goes on.
            let next = found.last().map_or(known.first, |entry| entry.log_id.index + 1);
            append(&mut left.store, vec![entry(1000, next)]).await.unwrap();
            let last = left.store.get_log_state().await.unwrap().last_log_id;
            assert_eq!(last, Some(id(1000, next)));
            (left.stop)();
        }
    }
    assert_eq!(reached.len(), 4, "a cut in each kind of step: {reached:?}");
}

#[test]
fn a_power_cut_at_any_operation_of_the_state_costs_nothing_that_was_acknowledged() {
    let mut random = Random::new(11);
    let mut checkpoints = 0;
    for at in 1..160 {
        let media = Media::default();
        media.state.die_at(at);
        let mut acknowledged = BTreeMap::new();
        let left = match Member::start(&media) {
            Err(_) => Media { log: media.log.crash(at), state: StateFile::default() },
            Ok(member) => {
                acknowledged = propose_until_it_stops(&member, 200);
                checkpoints += u32::from(member.raft.metrics().durable > 0);
                member.cut(&mut random)
            }
        };
        let member = Member::start(&left).unwrap_or_else(|error| panic!("operation {at}: {error}"));
        check(&member, &acknowledged, at);
        member.propose("goes on");
    }
    assert!(checkpoints > 20, "too few of them had written the state: {checkpoints}");
}
