//! Which cluster a command talks to, as whom and for how long: flag, then environment, then profile, and
//! where each value came from.

use crate::local::cluster::Cluster;
use clap::Args;
use client::{Client, ClientConfig, Identity};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use types::limits::{CLIENT_TIMEOUT, CLIENT_TIMEOUT_MAX};
use types::{Code, Error, Result};

/// The folder of a cluster that `up` makes unless told otherwise.
pub const DEFAULT_DIR: &str = "pairfs-data";

/// Options of every command; they stand before or after its name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The cluster that `pairfs up` made in this folder
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The cluster of these name managers
    #[arg(long, global = true, value_name = "ADDR", value_delimiter = ',')]
    pub nm: Vec<String>,
    /// File with the user's name and key
    #[arg(long, global = true, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Profile of ~/.config/pairfs/config.toml
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// How long to wait for a lost server, such as 60, 500ms or 5m [default: 60s; `up`: 120s]
    #[arg(long, global = true, value_name = "TIME", value_parser = parse_time)]
    pub timeout: Option<Duration>,
    /// Print JSON, one object or one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Print less
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print more; twice and three times even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// Where a value came from. The order is that of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// `./pairfs-data` is there.
    Here,
    /// A profile of the configuration file.
    Profile(String),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(name) => f.write_str(name),
            Origin::Environment(name) => f.write_str(name),
            Origin::Here => write!(f, "./{DEFAULT_DIR}"),
            Origin::Profile(name) => write!(f, "profile {name}"),
            Origin::Default => f.write_str("default"),
        }
    }
}

impl Origin {
    /// How explicit it is; lower wins.
    fn rank(&self) -> u8 {
        match self {
            Origin::Flag(_) => 0,
            Origin::Environment(_) => 1,
            Origin::Here => 2,
            Origin::Profile(_) => 3,
            Origin::Default => 4,
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

/// Which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one in this folder.
    Dir(PathBuf),
    /// The one of these name managers.
    Nm(Vec<String>),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Dir(dir) => write!(f, "the cluster in {}", dir.display()),
            Which::Nm(addrs) => write!(f, "the cluster at {}", addrs.join(",")),
        }
    }
}

/// One profile of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As `--dir`.
    pub dir: Option<PathBuf>,
    /// As `--nm`, comma-separated.
    pub nm: Option<String>,
    /// As `--key-file`.
    pub key_file: Option<PathBuf>,
    /// As `--timeout`.
    pub timeout: Option<String>,
}

/// `~/.config/pairfs/config.toml`: profiles by name; the one used unless told otherwise is `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The profiles.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

/// What surrounds a command: its environment, its folder, the user's configuration.
pub struct Surroundings<'a> {
    /// Environment variables; empty ones count as not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether `./pairfs-data` is there.
    pub here: bool,
    /// The user's configuration.
    pub config: ConfigFile,
}

/// What a command talks to, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which cluster; none if nothing says so.
    pub cluster: Option<Setting<Which>>,
    /// The key file; none: that of the cluster's folder.
    pub key_file: Option<Setting<PathBuf>>,
    /// How long to wait.
    pub timeout: Setting<Duration>,
}

/// Reads a time: seconds, or a number with `ms`, `s`, `m` or `h`.
///
/// # Errors
/// Says what is wrong.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a time; write it as 60, 500ms, 10s, 5m or 1h");
    let split = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    let number: f64 = number.parse().map_err(|_| bad())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| bad())?;
    if time > CLIENT_TIMEOUT_MAX { Err(format!("'{text}' is more than an hour")) } else { Ok(time) }
}

fn addresses(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|addr| !addr.is_empty()).map(str::to_owned).collect()
}

impl Settings {
    /// Decides what is meant.
    ///
    /// # Errors
    /// `USAGE` when two clusters are named at once, the profile is missing, or a time does not parse.
    pub fn resolve(global: &Global, around: &Surroundings<'_>) -> Result<Settings> {
        let variable = |name| (around.variable)(name).filter(|value| !value.is_empty());
        let asked = global.profile.clone().or_else(|| variable("PAIRFS_PROFILE"));
        let name = asked.clone().unwrap_or_else(|| "default".to_owned());
        let profile = around.config.profiles.get(&name).cloned();
        if asked.is_some() && profile.is_none() {
            let what = format_args!("there is no profile '{name}'");
            return Err(Error::new(Code::Usage, what, "see ~/.config/pairfs/config.toml"));
        }
        let (profile, from) = (profile.unwrap_or_default(), || Origin::Profile(name.clone()));
        let flags =
            one_of((global.dir.clone(), Origin::Flag("--dir")), (global.nm.clone(), Origin::Flag("--nm")))?;
        let environment = one_of(
            (variable("PAIRFS_DIR").map(PathBuf::from), Origin::Environment("PAIRFS_DIR")),
            (
                variable("PAIRFS_NM").map_or(Vec::new(), |text| addresses(&text)),
                Origin::Environment("PAIRFS_NM"),
            ),
        );
        let of_profile = |profile: &Profile| {
            let nm = profile.nm.as_deref().map_or(Vec::new(), addresses);
            one_of((profile.dir.clone(), from()), (nm, from()))
        };
        let here = || {
            let here = Setting { value: Which::Dir(DEFAULT_DIR.into()), origin: Origin::Here };
            around.here.then_some(here)
        };
        let cluster = match flags {
            Some(cluster) => Some(cluster),
            // A profile that was asked for says more than the folder one happens to be in.
            None if global.profile.is_some() => of_profile(&profile)?,
            None => match environment?.or_else(here) {
                Some(cluster) => Some(cluster),
                None => of_profile(&profile)?,
            },
        };
        let key_file = first([
            (global.key_file.clone(), Origin::Flag("--key-file")),
            (variable("PAIRFS_KEY_FILE").map(PathBuf::from), Origin::Environment("PAIRFS_KEY_FILE")),
            (profile.key_file.clone(), from()),
        ]);
        // A folder named more explicitly than the key file has its own key.
        let key_file = key_file.filter(|key| {
            !cluster.as_ref().is_some_and(|cluster| {
                matches!(cluster.value, Which::Dir(_)) && cluster.origin.rank() < key.origin.rank()
            })
        });
        let time = |text: String| {
            parse_time(&text).map_err(|what| Error::new(Code::Usage, what, "correct it, or use --timeout"))
        };
        let timeout = first([
            (global.timeout, Origin::Flag("--timeout")),
            (variable("PAIRFS_TIMEOUT").map(time).transpose()?, Origin::Environment("PAIRFS_TIMEOUT")),
            (profile.timeout.clone().map(time).transpose()?, from()),
        ]);
        let timeout = timeout.unwrap_or(Setting { value: CLIENT_TIMEOUT, origin: Origin::Default });
        Ok(Settings { cluster, key_file, timeout })
    }
}

fn first<T, const N: usize>(values: [(Option<T>, Origin); N]) -> Option<Setting<T>> {
    values.into_iter().find_map(|(value, origin)| Some(Setting { value: value?, origin }))
}

fn one_of(
    (dir, dir_from): (Option<PathBuf>, Origin),
    (nm, nm_from): (Vec<String>, Origin),
) -> Result<Option<Setting<Which>>> {
    match (dir, nm.is_empty()) {
        (Some(_), false) => {
            let what = format_args!("{dir_from} and {nm_from} both name a cluster");
            Err(Error::new(Code::Usage, what, "give one of them"))
        }
        (Some(dir), true) => Ok(Some(Setting { value: Which::Dir(dir), origin: dir_from })),
        (None, false) => Ok(Some(Setting { value: Which::Nm(nm), origin: nm_from })),
        (None, true) => Ok(None),
    }
}

/// The user's configuration file.
pub fn config_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("pairfs").join("config.toml"))
}

fn read_config() -> Result<ConfigFile> {
    let Some(path) = config_path() else { return Ok(ConfigFile::default()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ConfigFile::default()),
        Err(error) => {
            let what = format_args!("{}: {error}", path.display());
            return Err(Error::new(Code::Io, what, "check its permissions"));
        }
    };
    toml::from_str(&text).map_err(|error| {
        let line = error.message().replace('\n', " ");
        Error::new(Code::Usage, format_args!("{} does not parse ({line})", path.display()), "correct it")
    })
}

impl Global {
    /// What this process is to talk to.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn settings(&self) -> Result<Settings> {
        let variable = |name: &str| std::env::var(name).ok();
        let here = Path::new(DEFAULT_DIR).join("cluster.toml").is_file();
        Settings::resolve(self, &Surroundings { variable: &variable, here, config: read_config()? })
    }

    /// The folder that `up`, `down`, `node` and `env` work on.
    ///
    /// # Errors
    /// `USAGE` when a cluster is named by address; as [`Settings::resolve`].
    pub fn folder(&self) -> Result<PathBuf> {
        match self.settings()?.cluster {
            Some(Setting { value: Which::Dir(dir), .. }) => Ok(dir),
            Some(Setting { value: Which::Nm(_), origin }) if origin.rank() == 0 => {
                let what = format_args!("this command works on a folder, not on {origin}");
                Err(Error::new(Code::Usage, what, "give the folder with --dir"))
            }
            _ => Ok(DEFAULT_DIR.into()),
        }
    }

    /// How long `up` and `node start` wait, if anybody said so.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn start_timeout(&self) -> Result<Option<Duration>> {
        let Setting { value, origin } = self.settings()?.timeout;
        Ok((origin != Origin::Default).then_some(value))
    }

    /// What a client is made from.
    ///
    /// # Errors
    /// `USAGE` when nothing names a cluster; `NOT_FOUND` when there is none in the folder; `NOT_SIGNED_IN`
    /// without a key.
    pub fn client_config(&self) -> Result<ClientConfig> {
        let settings = self.settings()?;
        let Some(cluster) = settings.cluster else {
            let next = "start one with `pairfs up`, or name one with --dir or --nm";
            return Err(Error::new(Code::Usage, "no cluster is named", next));
        };
        if self.verbose > 0 {
            eprintln!("pairfs: {} (from {})", cluster.value, cluster.origin);
        }
        let key_file = settings.key_file.map(|setting| setting.value);
        let (nm, key_file) = match cluster.value {
            Which::Dir(dir) => {
                let cluster = Cluster::load(&dir)?;
                (
                    vec![cluster.file().nm.addr.to_string()],
                    key_file.unwrap_or_else(|| cluster.path("admin.key")),
                )
            }
            Which::Nm(nm) => (nm, key_file.ok_or_else(no_key)?),
        };
        Ok(ClientConfig::new(nm, Identity::load(&key_file)?).timeout(settings.timeout.value))
    }

    /// A client of the cluster that is meant.
    ///
    /// # Errors
    /// As [`Global::client_config`] and [`Client::connect`].
    pub async fn connect(&self) -> Result<Client> {
        Client::connect(self.client_config()?).await
    }
}

fn no_key() -> Error {
    let next = "give a key file with --key-file, PAIRFS_KEY_FILE or a profile";
    Error::new(Code::NotSignedIn, "it is not known who you are", next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(global: &Global, variables: &[(&str, &str)], here: bool, config: &str) -> Result<Settings> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = toml::from_str(config).unwrap();
        Settings::resolve(global, &Surroundings { variable: &variable, here, config })
    }

    fn cluster(settings: Result<Settings>) -> Option<(Which, Origin)> {
        settings.unwrap().cluster.map(|setting| (setting.value, setting.origin))
    }

    fn dir(path: &str) -> Which {
        Which::Dir(path.into())
    }

    #[test]
    fn a_flag_beats_the_environment_the_folder_and_the_profile_in_this_order() {
        let config = "[profiles.default]\nnm = 'p:1, p:2'";
        let variables: &[_] = &[("PAIRFS_DIR", "e")];
        let flag = Global { nm: vec!["f:1".into()], ..Global::default() };
        let none = Global::default();
        let found = cluster(resolve(&flag, variables, true, config));
        assert_eq!(found, Some((Which::Nm(vec!["f:1".into()]), Origin::Flag("--nm"))));
        let found = cluster(resolve(&none, variables, true, config));
        assert_eq!(found, Some((dir("e"), Origin::Environment("PAIRFS_DIR"))));
        let found = cluster(resolve(&none, &[("PAIRFS_DIR", "")], true, config));
        assert_eq!(found, Some((dir(DEFAULT_DIR), Origin::Here)));
        let found = cluster(resolve(&none, &[], false, config));
        let nm = Which::Nm(vec!["p:1".into(), "p:2".into()]);
        assert_eq!(found, Some((nm.clone(), Origin::Profile("default".into()))));
        assert_eq!(cluster(resolve(&none, &[], false, "")), None);
        let asked = Global { profile: Some("default".into()), ..Global::default() };
        assert_eq!(cluster(resolve(&asked, &[], true, config)).map(|found| found.0), Some(nm));
        assert_eq!(resolve(&asked, &[], true, "").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn two_clusters_at_once_are_refused() {
        let both = Global { dir: Some("d".into()), nm: vec!["a:1".into()], ..Global::default() };
        assert_eq!(resolve(&both, &[], false, "").unwrap_err().code, Code::Usage);
        let variables: &[_] = &[("PAIRFS_DIR", "e"), ("PAIRFS_NM", "a:1")];
        assert_eq!(resolve(&Global::default(), variables, false, "").unwrap_err().code, Code::Usage);
        let flag = Global { dir: Some("d".into()), ..Global::default() };
        assert!(resolve(&flag, variables, false, "").is_ok(), "a flag settles it");
    }

    #[test]
    fn a_key_from_the_environment_is_not_used_for_another_cluster() {
        let key = |global: &Global, variables: &[(&str, &str)]| {
            resolve(global, variables, false, "").unwrap().key_file.map(|key| key.value)
        };
        let folder = Global { dir: Some("d".into()), ..Global::default() };
        assert_eq!(key(&folder, &[("PAIRFS_KEY_FILE", "k")]), None);
        assert_eq!(
            key(&Global::default(), &[("PAIRFS_KEY_FILE", "k"), ("PAIRFS_DIR", "d")]),
            Some("k".into())
        );
        let given = Global { key_file: Some("g".into()), ..folder };
        assert_eq!(key(&given, &[("PAIRFS_KEY_FILE", "k")]), Some("g".into()));
    }

    #[test]
    fn times_are_read_with_their_units() {
        let times = [("60", 60_000), ("1.5s", 1_500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, millis) in times {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "s", "5 s", "-1", "1d", "2h", "1e3", "1.2.3"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
