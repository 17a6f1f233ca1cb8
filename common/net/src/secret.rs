//! Files that hold a secret: hex text, for the owner's eyes only, replaced as a whole or not at all.

use crate::bounds::{SECRET_BYTES, SECRET_MAX, SECRET_MIN};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use types::{Code, Error, Result};

/// Reads the secret of `path`, as bytes.
///
/// # Errors
/// `NOT_FOUND`; `DENIED` when others than the owner may read or write the file (mode beyond 0600);
/// `BAD_REQUEST` when it is no hex text of 16 to 1024 bytes; `IO`.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    let meta = file.metadata().map_err(|error| failed(path, &error))?;
    if !meta.is_file() {
        return Err(Error::bad_request(format_args!("{} is no regular file", path.display())));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o177 != 0 {
        return Err(Error::new(
            Code::Denied,
            format_args!("the secret {} is open to others (mode {mode:04o})", path.display()),
            format_args!("run `chmod 600 {}`; make a new secret if someone may have read it", path.display()),
        ));
    }
    let mut text = String::new();
    let room = 2 * SECRET_MAX as u64 + 3;
    file.take(room).read_to_string(&mut text).map_err(|error| failed(path, &error))?;
    parse(&text).ok_or_else(|| {
        Error::new(
            Code::BadRequest,
            format_args!("{} holds no secret", path.display()),
            format_args!("it must be hex text of {SECRET_MIN} to {SECRET_MAX} bytes; copy it again"),
        )
    })
}

/// The secret that the text of a file says; none if it says none.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    from_hex(text.trim()).filter(|bytes| (SECRET_MIN..=SECRET_MAX).contains(&bytes.len()))
}

/// Replaces the secret of `path` by `bytes`, durably: after a crash the file holds the old or the new one.
///
/// # Errors
/// `BAD_REQUEST` for fewer than 16 or more than 1024 bytes, `IO`, `DISK_FULL`.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = write_beside(path, bytes)?;
    let renamed = std::fs::rename(&temporary, path).map_err(|error| failed(path, &error));
    finish(path, &temporary, renamed)
}

/// Reads the secret of `path`; if there is none, makes one of 32 random bytes. Of several that make it at
/// once, one wins and all read the same.
///
/// # Errors
/// As [`read`] and [`write()`].
pub fn read_or_create(path: &Path) -> Result<Vec<u8>> {
    match read(path) {
        Err(error) if error.code == Code::NotFound => {}
        other => return other,
    }
    let temporary = write_beside(path, &random::<SECRET_BYTES>()?)?;
    // A link, unlike a rename, does not replace what another process made meanwhile.
    let linked = match std::fs::hard_link(&temporary, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(path, &error)),
        _ => Ok(()),
    };
    finish(path, &temporary, linked)?;
    read(path)
}

/// `N` bytes from the operating system, for keys and nonces.
///
/// # Errors
/// `INTERNAL` when the system has none to give.
pub fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::internal(format_args!("the system gives no random bytes ({error})")))?;
    Ok(bytes)
}

fn write_beside(path: &Path, bytes: &[u8]) -> Result<PathBuf> {
    if !(SECRET_MIN..=SECRET_MAX).contains(&bytes.len()) {
        return Err(Error::bad_request(format_args!("a secret of {} bytes", bytes.len())));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", to_hex(&random::<8>()?)));
    let temporary = path.with_file_name(name);
    let mut text = to_hex(bytes);
    text.push('\n');
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let written = made.and_then(|mut file| {
        // Whatever the umask said.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(failed(path, &error));
    }
    Ok(temporary)
}

fn finish(path: &Path, temporary: &Path, placed: Result<()>) -> Result<()> {
    // Gone already after a rename.
    let _ = std::fs::remove_file(temporary);
    placed?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    let (code, next) = match error.kind() {
        ErrorKind::NotFound => (Code::NotFound, "check the path, or start the first server, which makes it"),
        ErrorKind::PermissionDenied => (Code::Denied, "run as the user who owns it"),
        ErrorKind::StorageFull => (Code::DiskFull, "free some room on that disk, then try again"),
        _ => (Code::Io, "look at the disk and its permissions, then try again"),
    };
    Error::new(code, format_args!("secret file {}: {error}", path.display()), next)
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_for_its_owner_only_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.secret");
        assert_eq!(read(&path).unwrap_err().code, Code::NotFound);
        let made = read_or_create(&path).unwrap();
        assert_eq!(made.len(), SECRET_BYTES);
        assert_eq!(read_or_create(&path).unwrap(), made);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write(&path, &[7; 32]).unwrap();
        assert_eq!(read(&path).unwrap(), [7; 32]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        write(&path, &[1; 32]).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.code, Code::Denied);
            assert!(error.message.contains("chmod 600"), "{}", error.message);
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).is_ok());
    }

    #[test]
    fn a_damaged_secret_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for text in ["", "abc", "zz", "00ff", &"0".repeat(4096), &"é".repeat(32)] {
            write(&path, &[1; 32]).unwrap();
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path).unwrap_err().code, Code::BadRequest, "{text}");
        }
        assert!(write(&path, &[1; 4]).is_err());
    }

    #[test]
    fn servers_that_start_at_once_agree_on_one_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || read_or_create(&path).unwrap())
            })
            .collect();
        let secrets: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }
}
