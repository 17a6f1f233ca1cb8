//! Which folder this disk takes in, and whether it has: the command line that says so stays in unit files, and is given
//! again with each start.
//!
//! That it has is written before the log hears of the end, when every entry is decided and every row is durable here. From
//! then on the log alone knows whether something is left to do, and a start does not ask for an import again: what was
//! removed since must not come back (I4).

use crate::summed;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf, absolute};
use types::{Error, Result};

/// Version of the file's format (R35).
const FORMAT: u32 = 1;
const FILE: &str = "import-of";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Contents {
    format: u32,
    /// The folder as it was named, absolute.
    folder: PathBuf,
    /// The same without links.
    place: PathBuf,
    /// Everything is in.
    ended: bool,
}

/// The file read and written again.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub(crate) fn reread(bytes: &[u8]) -> Result<Vec<u8>> {
    summed::reread::<Contents>(FILE, bytes, FORMAT)
}

/// The folder that is or was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Contents);

impl Source {
    /// Of the data directory `data`; none before an import.
    ///
    /// # Errors
    /// `DAMAGED`, `UNKNOWN_FORMAT`, `IO`.
    pub fn read(data: &Path) -> Result<Option<Source>> {
        let way_out =
            "start the server without --import; one that is under way goes on once the file is removed";
        Ok(summed::read(data, FILE, FORMAT, way_out)?.map(Source))
    }

    /// `folder` is being taken in, or all of it is (`ended`). Durable when this returns.
    ///
    /// # Errors
    /// `IO`, `DISK_FULL`.
    pub fn write(data: &Path, folder: &Path, ended: bool) -> Result<()> {
        let contents = Contents { format: FORMAT, folder: named(folder), place: place(folder), ended };
        summed::replace(data, FILE, &toml::to_string(&contents).map_err(Error::internal)?)
    }

    /// Whether everything is in.
    pub fn has_ended(&self) -> bool {
        self.0.ended
    }

    /// Whether `folder` is the one; it need not be there any more.
    pub fn is(&self, folder: &Path) -> bool {
        self.0.folder == named(folder) || self.0.place == place(folder)
    }

    /// Its name.
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }
}

fn named(folder: &Path) -> PathBuf {
    absolute(folder).unwrap_or_else(|_| folder.to_owned()).components().collect()
}

fn place(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| named(folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summed::tests::{assert_told, with_each_flipped_bit};

    #[test]
    fn a_folder_that_was_taken_in_is_known_again_by_any_of_its_names_also_when_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        assert_eq!(Source::read(dir.path()).unwrap(), None);
        Source::write(dir.path(), &link, false).unwrap();
        let source = Source::read(dir.path()).unwrap().unwrap();
        assert!(source.is(&folder) && source.is(&link) && source.is(&folder.join(".")));
        assert!(!source.is(dir.path()) && !source.is(&folder.join("x")));
        std::fs::remove_dir(&folder).unwrap();
        std::fs::remove_file(&link).unwrap();
        assert!(source.is(&link) && source.is(&folder));
    }

    #[test]
    fn each_flipped_bit_of_it_is_told_or_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        Source::write(dir.path(), Path::new("/some/folder"), true).unwrap();
        let honest = Source::read(dir.path()).unwrap();
        with_each_flipped_bit(&dir.path().join(FILE), || assert_told(Source::read(dir.path()), &honest));
    }
}
