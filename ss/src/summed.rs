//! Small files of a data directory: TOML, replaced as a whole, whose last line is the checksum of all before it. A flipped
//! bit would else be another number that reads just as well.

use net::folder::failed;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use types::Result;
use types::content::crc64;

/// Begins the line with the checksum.
const SUM: &str = "crc64 = \"";

/// Replaces a file of the data directory `folder` as a whole: after a crash it says the old or the new. Durable when this
/// returns.
///
/// # Errors
/// `IO`, `DISK_FULL`.
pub(crate) fn replace(folder: &Path, file: &str, text: &str) -> Result<()> {
    let replaced = || -> std::io::Result<()> {
        let mut new = tempfile::Builder::new()
            .prefix(&format!(".{file}-"))
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        new.write_all(text.as_bytes())?;
        new.write_all(line(text).as_bytes())?;
        new.as_file().sync_all()?;
        new.persist(folder.join(file)).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    };
    replaced().map_err(|error| failed(folder, &error))
}

/// Whether a file says what was written. One without a checksum is one of the first, and is believed.
pub(crate) fn fits(text: &str) -> bool {
    let start = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    !text[start..].starts_with(SUM) || text[start..] == line(&text[..start])
}

fn line(text: &str) -> String {
    format!("{SUM}{:016x}\"\n", crc64(text.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// All that one flipped bit makes of a file and that is still text.
    pub(crate) fn flipped(file: &Path) -> impl Iterator<Item = String> + use<> {
        let honest = std::fs::read(file).unwrap();
        (0..honest.len() * 8).filter_map(move |bit| {
            let mut bad = honest.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            String::from_utf8(bad).ok()
        })
    }

    #[test]
    fn a_file_that_is_not_what_was_written_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        replace(dir.path(), "file", "a = 1\nb = \"x\"\n").unwrap();
        let text = std::fs::read_to_string(dir.path().join("file")).unwrap();
        assert!(fits(&text) && text.starts_with("a = 1\n") && text.lines().count() == 3);
        assert!(!fits(&text.replace("a = 1", "a = 2")));
        assert!(!fits(&text.replace("a = 1\n", "")));
        assert!(!fits(text.trim_end()), "its end is missing");
    }

    #[test]
    fn a_file_without_a_checksum_is_one_of_the_first() {
        for text in ["", "\n", "a = 1", "a = 1\n", "path = '/crc64 = \"'\n", "crc = 1\n"] {
            assert!(fits(text), "{text:?}");
        }
        replace(tempfile::tempdir().unwrap().path(), "file", "").unwrap();
    }
}
