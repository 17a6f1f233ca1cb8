//! The folder of a cluster that `up` made: what is in it, and `cluster.toml`.

use rustix::process::getpid;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use types::{Code, Error, Result};

/// The version of `cluster.toml` that this program writes, and the only one it reads.
pub const FORMAT: u32 = 1;
/// The most pairs that `up` starts on one machine.
pub const PAIRS_MAX: u32 = 64;

const HEADING: &str = "# Written by `pairfs up`. Ports are chosen once and kept.\n";

/// `DIR/cluster.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterFile {
    /// Version of this file.
    pub format: u32,
    /// Whether failures are found in a second rather than in a quarter of a minute.
    pub fast: bool,
    /// The name manager.
    pub nm: Member,
    /// The storage servers, each primary before its backup.
    pub servers: Vec<Member>,
}

/// One process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The primary whose backup it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_of: Option<String>,
}

/// A cluster and the folder it lives in.
#[derive(Clone, Debug)]
pub struct Cluster {
    dir: PathBuf,
    file: ClusterFile,
    /// More words for the name manager's command line; not kept.
    nm_words: &'static [&'static str],
}

impl Cluster {
    /// The cluster of `dir`, made if there is none, with at least `pairs` pairs if that is given. `fast`
    /// is remembered.
    ///
    /// # Errors
    /// `USAGE` for fewer pairs than there are, none, or too many; as [`Cluster::load`]; `IO`.
    pub fn open(dir: &Path, pairs: Option<u32>, fast: bool) -> Result<Cluster> {
        if pairs.is_some_and(|pairs| !(1..=PAIRS_MAX).contains(&pairs)) {
            let what = format_args!("a cluster has 1 to {PAIRS_MAX} pairs here");
            return Err(Error::new(Code::Usage, what, "give another number to --pairs"));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| about(dir, &error))?;
        let dir = dir.canonicalize().map_err(|error| about(dir, &error))?;
        let (mut file, before) = match ClusterFile::load(&dir) {
            Ok(file) => (file.clone(), Some(file)),
            Err(error) if error.code == Code::NotFound => (ClusterFile::new()?, None),
            Err(error) => return Err(error),
        };
        if fast && before.as_ref().is_some_and(|before| !before.fast) {
            // Its name manager would refuse it, and then refuse what this file says without the option, too.
            let what = format_args!("the cluster in {} was made without --fast", dir.display());
            return Err(Error::new(Code::Usage, what, "start it without --fast, or give another --dir"));
        }
        file.fast |= fast;
        file.grow_to(pairs)?;
        if before.as_ref() != Some(&file) {
            file.save(&dir)?;
        }
        net::secret::read_or_create(&dir.join("cluster.secret"))?;
        Ok(Cluster { dir, file, nm_words: &[] })
    }

    /// The same, whose name manager is started with these words, too, by this process.
    pub fn with_nm_words(self, nm_words: &'static [&'static str]) -> Cluster {
        Cluster { nm_words, ..self }
    }

    /// More words for the name manager's command line.
    pub fn nm_words(&self) -> &'static [&'static str] {
        self.nm_words
    }

    /// The cluster of `dir`.
    ///
    /// # Errors
    /// `NOT_FOUND` when there is none, `UNKNOWN_FORMAT` when another version of the program wrote it,
    /// `BAD_REQUEST` when it does not parse, `IO`.
    pub fn load(dir: &Path) -> Result<Cluster> {
        let dir = dir.canonicalize().map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_cluster(dir),
            _ => about(dir, &error),
        })?;
        let file = ClusterFile::load(&dir)?;
        Ok(Cluster { dir, file, nm_words: &[] })
    }

    /// Its folder, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What is in `cluster.toml`.
    pub fn file(&self) -> &ClusterFile {
        &self.file
    }

    /// How many pairs it has.
    pub fn pairs(&self) -> usize {
        self.file.servers.iter().filter(|server| server.backup_of.is_none()).count()
    }

    /// A member by name.
    ///
    /// # Errors
    /// `NOT_FOUND`, with the names that there are.
    pub fn member(&self, name: &str) -> Result<&Member> {
        self.members().find(|member| member.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.members().map(|member| member.name.as_str()).collect();
            Error::new(
                Code::NotFound,
                format_args!("{} has no member {}", self.dir.display(), types::path::Quoted(name)),
                format_args!("name one of {}", names.join(", ")),
            )
        })
    }

    /// The name manager, then the storage servers.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.file.nm).chain(&self.file.servers)
    }

    /// Members in the order in which they stop: backups, so that no primary hands over to a server that
    /// stops as well; primaries; the name manager, whom all of them tell goodbye.
    pub fn stop_order(&self) -> [Vec<&Member>; 3] {
        let (backups, primaries) = self.file.servers.iter().partition(|server| server.backup_of.is_some());
        [backups, primaries, vec![&self.file.nm]]
    }

    /// A file of the cluster.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// `DIR/NAME.pid`.
    pub fn pid_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.pid"))
    }

    /// `DIR/NAME.log`.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }
}

impl ClusterFile {
    fn new() -> Result<ClusterFile> {
        let [addr] = free_addresses(&HashSet::new())?;
        let nm = Member { name: "nm".to_owned(), addr, backup_of: None };
        Ok(ClusterFile { format: FORMAT, fast: false, nm, servers: Vec::new() })
    }

    fn load(dir: &Path) -> Result<ClusterFile> {
        let path = dir.join("cluster.toml");
        let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_cluster(dir),
            _ => about(&path, &error),
        })?;
        let bad = |what: &dyn std::fmt::Display| {
            Error::new(
                Code::BadRequest,
                format_args!("{}: {what}", path.display()),
                "repair it, or move the folder away and start anew",
            )
        };
        let text = String::from_utf8(bytes).map_err(|_| bad(&"it is no text"))?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = toml::from_str(&text).map_err(|error| bad(&error.message()))?;
        if format != FORMAT {
            return Err(Error::new(
                Code::UnknownFormat,
                format_args!("{} has format {format}, this program knows {FORMAT}", path.display()),
                "use the version of the program that wrote it",
            ));
        }
        toml::from_str(&text).map_err(|error| bad(&error.message()))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        let path = dir.join("cluster.toml");
        let text =
            toml::to_string(self).map_err(|error| Error::internal(format_args!("cluster.toml: {error}")))?;
        replace(&path, format!("{HEADING}{text}").as_bytes())
    }

    fn pairs(&self) -> u32 {
        let primaries = self.servers.iter().filter(|server| server.backup_of.is_none()).count();
        u32::try_from(primaries).unwrap_or(u32::MAX)
    }

    fn grow_to(&mut self, pairs: Option<u32>) -> Result<()> {
        let (have, want) = (self.pairs(), pairs.unwrap_or(self.pairs().max(1)));
        if want < have {
            return Err(Error::new(
                Code::Usage,
                format_args!("this cluster has {have} pairs, not {want}"),
                "give the same number or a larger one, or none",
            ));
        }
        for number in have + 1..=want {
            let taken = self.servers.iter().chain([&self.nm]).map(|member| member.addr.port()).collect();
            let [first, second] = free_addresses(&taken)?;
            let primary = format!("ss{number}");
            let backup = format!("{primary}_backup");
            self.servers.push(Member { name: primary.clone(), addr: first, backup_of: None });
            self.servers.push(Member { name: backup, addr: second, backup_of: Some(primary) });
        }
        Ok(())
    }
}

/// Addresses on loopback where nobody listens, below the ports that the system lends to outgoing
/// connections: a member that is down for a while must not find its port lent to someone.
fn free_addresses<const N: usize>(taken: &HashSet<u16>) -> Result<[SocketAddr; N]> {
    const TRIES: usize = 256;
    let lent_from = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse::<u16>().ok())
        .filter(|first| *first > 20_000)
        .unwrap_or(32_768);
    let mut listeners = Vec::with_capacity(N);
    for _ in 0..TRIES {
        if listeners.len() == N {
            break;
        }
        let random = u16::from_le_bytes(net::secret::random()?);
        let port = 10_240 + random % (lent_from - 10_240);
        if taken.contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            listeners.push(listener);
        }
    }
    while listeners.len() < N {
        listeners.push(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Error::from)?);
    }
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for (address, listener) in addresses.iter_mut().zip(&listeners) {
        *address = listener.local_addr().map_err(Error::from)?;
    }
    Ok(addresses)
}

/// Replaces a small file as a whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{}.", getpid().as_raw_nonzero()))
        .tempfile_in(folder)
        .map_err(|error| about(path, &error))?;
    file.write_all(bytes).map_err(|error| about(path, &error))?;
    file.as_file().sync_all().map_err(|error| about(path, &error))?;
    file.persist(path).map_err(|error| about(path, &error.error))?;
    Ok(())
}

pub(super) fn about(path: &Path, error: &std::io::Error) -> Error {
    let (code, next) = match error.kind() {
        ErrorKind::StorageFull => (Code::DiskFull, "free some room on that disk, then try again"),
        ErrorKind::PermissionDenied => (Code::Denied, "choose a folder of your own with --dir"),
        _ => (Code::Io, "look at the disk and its permissions, then try again"),
    };
    Error::new(code, format_args!("{}: {error}", path.display()), next)
}

fn no_cluster(dir: &Path) -> Error {
    Error::new(
        Code::NotFound,
        format_args!("there is no cluster in {}", dir.display()),
        "make one with `pairfs up`, or name its folder with --dir",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_cluster_that_starts_again_keeps_its_ports_and_pace() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("data");
        let made = Cluster::open(&place, None, true).unwrap();
        let names: Vec<_> = made.members().map(|member| member.name.as_str()).collect();
        assert_eq!(names, ["nm", "ss1", "ss1_backup"]);
        let again = Cluster::open(&place, None, false).unwrap();
        assert_eq!(again.file(), made.file());
        assert!(again.file().fast);
        assert_eq!(Cluster::load(&place).unwrap().file(), made.file());
    }

    #[test]
    fn members_have_ports_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::open(dir.path(), Some(8), false).unwrap();
        let ports: HashSet<_> = cluster.members().map(|member| member.addr.port()).collect();
        assert_eq!(ports.len(), 17);
    }

    #[test]
    fn a_cluster_grows_by_pairs_but_does_not_shrink() {
        let dir = tempfile::tempdir().unwrap();
        let one = Cluster::open(dir.path(), None, false).unwrap();
        let three = Cluster::open(dir.path(), Some(3), false).unwrap();
        assert_eq!(three.file().servers[..2], one.file().servers[..]);
        assert_eq!(three.file().servers.len(), 6);
        assert_eq!(Cluster::open(dir.path(), Some(2), false).unwrap_err().code, Code::Usage);
        assert_eq!(Cluster::open(dir.path(), Some(0), false).unwrap_err().code, Code::Usage);
    }

    #[test]
    fn nobody_else_can_read_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("data");
        let cluster = Cluster::open(&place, None, false).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&cluster.path("cluster.secret")), 0o600);
        assert_eq!(mode(&place), 0o700);
    }

    #[test]
    fn a_folder_of_another_version_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, "format = 9\nnews = true\n").unwrap();
        assert_eq!(Cluster::open(dir.path(), None, false).unwrap_err().code, Code::UnknownFormat);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "format = 9\nnews = true\n");
        std::fs::write(&path, "format =").unwrap();
        assert_eq!(Cluster::load(dir.path()).unwrap_err().code, Code::BadRequest);
        assert_eq!(Cluster::load(&dir.path().join("none")).unwrap_err().code, Code::NotFound);
    }
}
