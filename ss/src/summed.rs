//! Small files of a data directory: TOML, replaced as a whole, whose last line is the checksum of all before it. A flipped
//! bit would else be another number that reads just as well.

use net::folder::failed;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use types::content::crc64;
use types::{Code, Error, Result};

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

/// What a file of the data directory `folder` says, in version `format` of its format (R35); none if it is not there.
/// `way_out`: what to do about one that is damaged.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`, `IO`.
pub(crate) fn read<T: DeserializeOwned>(
    folder: &Path,
    file: &str,
    format: u32,
    way_out: &str,
) -> Result<Option<T>> {
    let place = folder.join(file);
    match std::fs::read(&place) {
        Ok(bytes) => parse(&place, &bytes, format, way_out).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&place, &error)),
    }
}

/// Reads the bytes of a file, whose name is `file`, and gives those that would be written to say the same.
///
/// # Errors
/// `DAMAGED`, `UNKNOWN_FORMAT`.
pub(crate) fn reread<T: DeserializeOwned + Serialize>(
    file: &str,
    bytes: &[u8],
    format: u32,
) -> Result<Vec<u8>> {
    let contents: T = parse(Path::new(file), bytes, format, "restore it")?;
    let text = toml::to_string(&contents).map_err(Error::internal)?;
    let sum = line(&text);
    Ok((text + &sum).into_bytes())
}

fn parse<T: DeserializeOwned>(place: &Path, bytes: &[u8], known: u32, way_out: &str) -> Result<T> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |why: &str| {
        Error::new(Code::Damaged, format_args!("{} is damaged ({why})", place.display()), way_out)
    };
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is no text"))?;
    // Before the rest: another version may have other fields.
    let Format { format } = toml::from_str(text).map_err(|error| damaged(error.message()))?;
    if format != known {
        let what = format_args!("{} was made by another version (format {format})", place.display());
        return Err(Error::new(Code::UnknownFormat, what, "start the server with the version that made it"));
    }
    if !fits(text) {
        return Err(damaged("its checksum is another one"));
    }
    toml::from_str(text).map_err(|error| damaged(error.message()))
}

/// Whether a file says what was written. One without a checksum is one of the first, and is believed.
fn fits(text: &str) -> bool {
    let start = text.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
    !text[start..].starts_with(SUM) || text[start..] == line(&text[..start])
}

fn line(text: &str) -> String {
    format!("{SUM}{:016x}\"\n", crc64(text.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Puts each file in the place of `file` that one flipped bit makes of it, and calls `look`; then the honest one again.
    pub(crate) fn with_each_flipped_bit(file: &Path, look: impl Fn()) {
        let honest = std::fs::read(file).unwrap();
        for bit in 0..honest.len() * 8 {
            let mut bad = honest.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(file, bad).unwrap();
            look();
        }
        std::fs::write(file, honest).unwrap();
    }

    /// Whether what was read of a file with a flipped bit is the truth, or nothing.
    pub(crate) fn assert_told<T: PartialEq + std::fmt::Debug>(read: Result<T>, honest: &T) {
        match read {
            Ok(read) => assert_eq!(read, *honest),
            Err(error) => assert!([Code::Damaged, Code::UnknownFormat].contains(&error.code), "{error}"),
        }
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
