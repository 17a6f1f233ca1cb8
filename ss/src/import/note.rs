//! How far an import has come, as the disk of the server that does it knows it: for a name manager that was made anew
//! from the storage servers and has no log to look it up in ([decision 0021](../../../docs/decisions/0021-an-import-outlives-its-log.md)).
//!
//! Two drafts of a note broke already (decision 0013): written after the answer it may be missing, written before it may
//! be false. This one says both: up to where everything is in and its rows are durable here, and what was asked for
//! beyond that, with the sessions of the contents. Whether a row has named one of those says whether it came in.

use crate::identity;
use crate::store::Cursors;
use crate::summed;
use net::folder::failed;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use types::ids::SessionId;
use types::record::ImportProgress;
use types::{Error, Result};

/// Version of the file's format (R35).
const FORMAT: u32 = 1;
const FILE: &str = "import";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Contents {
    format: u32,
    done: u64,
    after: String,
    files: u64,
    folders: u64,
    links: u64,
    bytes: u64,
    skipped: u64,
    /// What was asked for behind `after`.
    #[serde(default)]
    doubtful: Vec<Doubtful>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Doubtful {
    number: u64,
    path: String,
    /// Hex.
    session: String,
}

impl Contents {
    fn progress(&self) -> ImportProgress {
        let Contents { done, after, files, folders, links, bytes, skipped, .. } = self.clone();
        ImportProgress { done, after, files, folders, links, bytes, skipped }
    }

    fn set(&mut self, progress: ImportProgress) {
        let ImportProgress { done, after, files, folders, links, bytes, skipped } = progress;
        let mut doubtful = std::mem::take(&mut self.doubtful);
        doubtful.retain(|entry| entry.number > done);
        *self = Contents { format: FORMAT, done, after, files, folders, links, bytes, skipped, doubtful };
    }
}

/// Progress that counts once the rows up to these numbers are durable here.
struct Decided {
    progress: ImportProgress,
    control: u64,
    pair: u64,
}

/// The note.
pub struct Note {
    folder: PathBuf,
    contents: Contents,
    decided: VecDeque<Decided>,
}

/// How far an unfinished import has come whose note lies in the data directory `folder`.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`, `IO`.
pub fn unfinished(folder: &Path) -> Result<Option<ImportProgress>> {
    Ok(read(folder)?.map(|contents| contents.progress()))
}

fn read(folder: &Path) -> Result<Option<Contents>> {
    summed::read(folder, FILE, FORMAT, "remove the file: the import is then looked up at the name manager")
}

/// The file read and written again.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub(crate) fn reread(bytes: &[u8]) -> Result<Vec<u8>> {
    summed::reread::<Contents>(FILE, bytes, FORMAT)
}

impl Note {
    /// The note in the data directory `folder`; a new one says that nothing is in.
    ///
    /// # Errors
    /// As [`unfinished`].
    pub fn open(folder: &Path) -> Result<Note> {
        let contents = read(folder)?.unwrap_or(Contents { format: FORMAT, ..Contents::default() });
        Ok(Note { folder: folder.to_owned(), contents, decided: VecDeque::new() })
    }

    /// The log has come to `progress`, by rows up to `ends` (control, pair).
    pub fn agreed(&mut self, progress: &ImportProgress, ends: (u64, u64)) {
        self.decided.clear();
        if progress.done < self.contents.done {
            self.contents.set(progress.clone());
        } else {
            self.decided(progress, ends);
        }
    }

    /// The same, of what was asked for since.
    pub fn decided(&mut self, progress: &ImportProgress, (control, pair): (u64, u64)) {
        let before = self.decided.back().map_or((0, 0), |last| (last.control, last.pair));
        let (control, pair) = (control.max(before.0), pair.max(before.1));
        self.decided.push_back(Decided { progress: progress.clone(), control, pair });
    }

    /// Takes what is durable by now for done; gives how many batches are not.
    pub fn settle(&mut self, cursors: Cursors) -> usize {
        while let Some(next) = self.decided.front()
            && next.control <= cursors.control
            && next.pair <= cursors.pair
            && let Some(next) = self.decided.pop_front()
        {
            self.contents.set(next.progress);
        }
        self.decided.len()
    }

    /// Contents that the log is going to be asked to take in: number and path of the entry, session. Durable when what it
    /// gives has been run, which blocks.
    ///
    /// # Errors
    /// What it gives: `IO`, `DISK_FULL`.
    pub fn ask(
        &mut self,
        entries: impl Iterator<Item = (u64, String, SessionId)>,
    ) -> Result<impl FnOnce() -> Result<()> + Send + 'static> {
        let doubtful = &mut self.contents.doubtful;
        for (number, path, session) in entries {
            let session = identity::hex(&session.0);
            // An earlier try of it came to nothing.
            doubtful.retain(|entry| entry.number != number);
            doubtful.push(Doubtful { number, path, session });
        }
        let text = toml::to_string(&self.contents).map_err(Error::internal)?;
        let folder = self.folder.clone();
        Ok(move || summed::replace(&folder, FILE, &text))
    }

    /// Contents of which this disk does not know whether they came in, by path.
    pub fn doubtful(&self) -> HashMap<String, SessionId> {
        let session = |entry: &Doubtful| SessionId::from_slice(&identity::from_hex(&entry.session)?).ok();
        let entries = self.contents.doubtful.iter();
        entries.filter_map(|entry| Some((entry.path.clone(), session(entry)?))).collect()
    }

    /// Everything is in.
    ///
    /// # Errors
    /// `IO`.
    pub fn remove(&self) -> Result<()> {
        let place = self.folder.join(FILE);
        match std::fs::remove_file(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&place, &error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::tests::{assert_told, with_each_flipped_bit};
    use types::Code;

    fn progress(done: u64) -> ImportProgress {
        ImportProgress { done, after: format!("/{done}"), files: done, ..ImportProgress::default() }
    }

    fn cursors(control: u64, pair: u64) -> Cursors {
        Cursors { generation: 1, control, pair }
    }

    fn session(number: u64) -> SessionId {
        SessionId::from_random([u8::try_from(number).unwrap(); 16])
    }

    fn ask(note: &mut Note, numbers: std::ops::RangeInclusive<u64>) {
        let numbered = numbers.map(|number| (number, format!("/{number}"), session(number)));
        note.ask(numbered).unwrap()().unwrap();
    }

    #[test]
    fn what_is_in_counts_only_once_its_rows_are_durable_here() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = Note::open(dir.path()).unwrap();
        assert_eq!(unfinished(dir.path()).unwrap(), None, "there is no import");
        note.agreed(&progress(0), (0, 0));
        ask(&mut note, 1..=2);
        note.decided(&progress(2), (7, 9));
        assert_eq!(note.settle(cursors(7, 8)), 1);
        ask(&mut note, 3..=4);
        assert_eq!(unfinished(dir.path()).unwrap().unwrap().done, 0);
        assert_eq!(note.doubtful().len(), 4);
        assert_eq!(note.settle(cursors(7, 9)), 0);
        ask(&mut note, 5..=5);
        assert_eq!(unfinished(dir.path()).unwrap(), Some(progress(2)));
        let again = Note::open(dir.path()).unwrap();
        assert_eq!(again.doubtful().len(), 3);
        assert_eq!(again.doubtful()["/4"], session(4));
        again.remove().unwrap();
        assert_eq!(unfinished(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_name_manager_that_knows_less_is_believed_and_one_that_knows_more_when_its_rows_are_here() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = Note::open(dir.path()).unwrap();
        note.agreed(&progress(9), (0, 5));
        note.settle(cursors(0, 4));
        ask(&mut note, 10..=10);
        assert_eq!(unfinished(dir.path()).unwrap().unwrap().done, 0);
        note.settle(cursors(0, 5));
        note.agreed(&progress(6), (0, 5));
        ask(&mut note, 7..=7);
        assert_eq!(unfinished(dir.path()).unwrap(), Some(progress(6)));
    }

    #[test]
    fn r35_a_note_of_another_format_or_of_rubbish_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        ask(&mut Note::open(dir.path()).unwrap(), 1..=1);
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), text.replace("format = 1", "format = 2")).unwrap();
        assert_eq!(unfinished(dir.path()).unwrap_err().code, Code::UnknownFormat);
        std::fs::write(dir.path().join(FILE), "what").unwrap();
        assert_eq!(unfinished(dir.path()).unwrap_err().code, Code::Damaged);
    }

    #[test]
    fn each_flipped_bit_of_a_note_is_told_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut note = Note::open(dir.path()).unwrap();
        note.agreed(&progress(3), (0, 0));
        note.settle(cursors(0, 0));
        ask(&mut note, 4..=5);
        let honest = read(dir.path()).unwrap();
        with_each_flipped_bit(&dir.path().join(FILE), || assert_told(read(dir.path()), &honest));
    }

    #[test]
    fn a_note_without_a_checksum_is_one_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            "format = 1\ndone = 2\nafter = '/2'\nfiles = 2\nfolders = 0\nlinks = 0\nbytes = 9\nskipped = 0\n";
        std::fs::write(dir.path().join(FILE), text).unwrap();
        assert_eq!(read(dir.path()).unwrap().unwrap().done, 2);
    }
}
