//! Opening: the index is brought up to date with the journal, or rebuilt from it; then everything else follows
//! from the index.

use std::sync::Arc;

use bytes::Bytes;
use log::{Disk, Entry, Extents, ExtentsConfig, Hole, Log, LogConfig, LogError, Position};
use types::{Error, Result};

use super::apply::{Staged, apply};
use super::change::Change;
use super::commit::Committing;
use super::config::StoreConfig;
use super::index::Index;
use super::salvage::{self, Look};
use super::shared::Shared;
use super::trouble::log_error;

/// Records put into the index in one transaction of a replay.
const REPLAY_RECORDS: usize = 4096;
/// Bytes of journal put into the index in one transaction of a replay.
const REPLAY_BYTES: usize = 16 << 20;

/// Makes the index: as it is, or, with `true`, an empty one.
pub(crate) type MakeIndex<'a> = &'a mut dyn FnMut(bool) -> Result<Index>;

/// A store that is up to date and not being written yet.
pub(crate) struct Opened {
    pub shared: Arc<Shared>,
    pub log: Log,
    pub committing: Committing,
}

/// Opens the store on `disk`. With `spares`, the journal keeps files ready to grow into. An index that turns out to be damaged
/// meanwhile is made anew.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    make: MakeIndex<'_>,
    config: StoreConfig,
    spares: bool,
) -> Result<Opened> {
    let opened = open_as_is(disk.clone(), make, config.clone(), spares);
    let (Err(_), Some(why)) = (&opened, config.index_damage.found()) else { return opened };
    drop(opened);
    tracing::warn!(why, "the index is rebuilt from the journal");
    open_as_is(disk, &mut |_| make(true), config, spares)
}

fn open_as_is(disk: Arc<dyn Disk>, make: MakeIndex<'_>, config: StoreConfig, spares: bool) -> Result<Opened> {
    let (index, log) = open_journal(&disk, make, &config, spares)?;
    let settings = ExtentsConfig {
        folder: config.extents_folder.clone(),
        file_bytes: config.extent_file_bytes,
        open_files: config.open_extents(),
    };
    let extents = Extents::open_with(disk.clone(), settings, index.extents()?).map_err(log_error)?;
    let shared = Arc::new(Shared::new(disk, index, log.reader(), Arc::new(extents), config)?);
    let committing = Committing::new(shared.clone(), log.end());
    committing.note_end(&log);
    Ok(Opened { shared, log, committing })
}

fn open_journal(
    disk: &Arc<dyn Disk>,
    make: MakeIndex<'_>,
    config: &StoreConfig,
    spares: bool,
) -> Result<(Index, Log)> {
    let index = make(false)?;
    let upto = index.upto()?;
    let mut look = Look::default();
    match replay(disk, &index, config, upto, spares, None) {
        // A segment that the index has not seen to its end may have been given back since it was written.
        Ok(log)
            if log.segments().first().is_some_and(|first| upto.segment() < first.number) && upto.0 > 0 =>
        {
            tracing::warn!(%upto, "the index is older than the journal; it is rebuilt");
        }
        Ok(log) => return Ok((index, log)),
        Err(Failed::Log(error @ LogError::Damaged { .. })) => {
            look = salvage::look(disk.as_ref(), &settings(config, spares)).map_err(log_error)?;
            let upto = index.upto()?;
            if look.holes.is_empty() && upto == Position::default() {
                return Err(log_error(error));
            } else if look.holes.is_empty() {
                // The journal ends before what the index has seen, or is another one: the index is not believed.
                tracing::warn!(%upto, "the index does not fit the journal; it is rebuilt");
            } else if !look.unknown.is_empty() && config.salvage.is_none() {
                return Err(log_error(error));
            } else if look.unknown.is_empty() && upto > look.told {
                // The index knows what is said of the holes.
                match replay(disk, &index, config, upto, spares, Some(&mut Vec::new())) {
                    Ok(log) => return Ok((index, log)),
                    Err(Failed::Log(LogError::Damaged { .. })) => {}
                    Err(failed) => return Err(failed.into()),
                }
            }
        }
        Err(failed) => return Err(failed.into()),
    }
    drop(index);
    let index = make(true)?;
    let mut passed = (!look.holes.is_empty()).then(Vec::new);
    let mut log = replay(disk, &index, config, Position::default(), spares, passed.as_mut())?;
    if let Some(generation) = config.salvage.filter(|_| !look.unknown.is_empty()) {
        salvage::settle(disk.as_ref(), &index, &mut log, config, &look, generation)?;
    }
    Ok((index, log))
}

fn settings(config: &StoreConfig, spares: bool) -> LogConfig {
    LogConfig {
        folder: config.journal_folder.clone(),
        segment_bytes: config.segment_bytes,
        spare_segments: usize::from(spares),
        background_fill: config.background_fill && spares,
        open_segments: config.open_segments(),
    }
}

/// Where the journal in `disk` is damaged, as far as no record in it says that this was dealt with. Changes nothing.
pub(crate) fn unknown_holes(disk: &dyn Disk, config: &StoreConfig) -> Result<Vec<Hole>> {
    Ok(salvage::look(disk, &settings(config, false)).map_err(log_error)?.unknown)
}

enum Failed {
    Log(LogError),
    Owner(Error),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Error {
        match failed {
            Failed::Log(error) => log_error(error),
            Failed::Owner(error) => error,
        }
    }
}

/// Puts what stands in the journal from `from` on into the index. With `holes`, it goes on behind damage.
fn replay(
    disk: &Arc<dyn Disk>,
    index: &Index,
    config: &StoreConfig,
    from: Position,
    spares: bool,
    holes: Option<&mut Vec<Hole>>,
) -> Result<Log, Failed> {
    let (settings, disk) = (settings(config, spares), disk.clone());
    let mut replay = Replay { index, batch: Vec::new(), bytes: 0, failed: None };
    let mut take = |entry: Entry<'_>| replay.take(entry);
    let opened = match holes {
        None => Log::open(disk, settings, from, &mut take),
        Some(holes) => Log::open_over_damage(disk, settings, from, &mut take, holes),
    };
    let log = match (opened, replay.failed.take()) {
        (_, Some(error)) => return Err(Failed::Owner(error)),
        (Err(error), None) => return Err(Failed::Log(error)),
        (Ok(log), None) => log,
    };
    if from != log.end() {
        // What is replayed is durable, so the index may be too.
        replay.flush(log.end(), true).map_err(Failed::Owner)?;
    }
    Ok(log)
}

struct Replay<'a> {
    index: &'a Index,
    batch: Vec<Staged>,
    bytes: usize,
    failed: Option<Error>,
}

impl Replay<'_> {
    fn take(&mut self, entry: Entry<'_>) -> Result<(), LogError> {
        self.add(entry).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            LogError::Owner(text)
        })
    }

    fn add(&mut self, entry: Entry<'_>) -> Result<()> {
        let between = !matches!(self.batch.last(), Some(Staged { change: Change::Places(_), .. }));
        if between && (self.batch.len() >= REPLAY_RECORDS || self.bytes >= REPLAY_BYTES) {
            self.flush(entry.position, false)?;
        }
        let change = Change::decode(entry.kind, Bytes::copy_from_slice(entry.payload))?;
        self.bytes += entry.payload.len();
        self.batch.push(Staged { position: entry.position, payload: entry.payload.len() as u32, change });
        Ok(())
    }

    fn flush(&mut self, upto: Position, durable: bool) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        // What it frees was never taken: the extents are opened with what the index names in the end.
        self.index.write(durable, |tables| apply(tables, &batch, upto)).map(|_| ())
    }
}
