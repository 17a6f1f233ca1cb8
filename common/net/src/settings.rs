//! Options of a server from a TOML file (`--config FILE`, `PAIRFS_CONFIG`): each counts if neither the command line nor
//! the environment says it. They are put behind the words of the command line, so one parser checks them all.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use toml::Value;
use types::message::manager::Setting;
use types::{Code, Error, Result};

/// The option that names the file.
const CONFIG: &str = "config";
/// Its variable.
const CONFIG_VARIABLE: &str = "PAIRFS_CONFIG";

/// An option that a file may set.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its name on the command line, without dashes.
    pub long: String,
    /// Its variable.
    pub env: Option<String>,
    /// It takes no value.
    pub switch: bool,
}

/// Reads the options of a server again: command line and environment as they were at the start, the file as it is now.
pub type Reread<C> = Box<dyn Fn() -> Result<C> + Send + Sync>;

/// The settings of a running server, each with where it came from.
#[derive(Debug, Default)]
pub struct Effective {
    settings: Mutex<Vec<Setting>>,
}

/// Options with their values; the same names each time.
pub type Values = Vec<(&'static str, Option<String>)>;

impl Effective {
    /// The settings of this process: `values` as they were parsed.
    pub fn new(values: Values, known: &[Known]) -> Effective {
        Effective { settings: Mutex::new(with_origins(values, known)) }
    }

    /// The options were read again; all but the `fixed` ones are as in `values` now.
    pub fn reread(&self, values: Values, known: &[Known], fixed: &[&str]) {
        let now = with_origins(values, known);
        let mut settings = self.lock();
        for setting in settings.iter_mut().filter(|setting| !fixed.contains(&setting.name.as_str())) {
            if let Some(now) = now.iter().find(|now| now.name == setting.name) {
                setting.clone_from(now);
            }
        }
    }

    /// What an option comes to that nobody said and that has no default.
    pub fn fill(&self, name: &str, value: &str) {
        for setting in self.lock().iter_mut().filter(|setting| setting.name == name) {
            setting.value.get_or_insert_with(|| value.to_owned());
        }
    }

    /// All of them.
    pub fn list(&self) -> Vec<Setting> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Setting>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_origins(values: Values, known: &[Known]) -> Vec<Setting> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let path = file(&words);
    // It was read when the options were: what it says now may be another thing, but it cannot say less.
    let table = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok()?.parse().ok());
    let file = path.zip(table);
    let set = |variable: &str| std::env::var_os(variable).is_some();
    let setting = |(name, value): (&str, Option<String>)| {
        let origin = origin(name, &words, known, file.as_ref(), set);
        Setting { name: name.to_owned(), value, origin }
    };
    values.into_iter().map(setting).collect()
}

/// Where the value of an option came from, in the order of precedence.
fn origin(
    name: &str,
    words: &[OsString],
    known: &[Known],
    file: Option<&(PathBuf, toml::Table)>,
    set: impl Fn(&str) -> bool,
) -> String {
    if is_said(words, name) {
        return format!("--{name}");
    }
    let option = known.iter().find(|option| option.long == name);
    if let Some(variable) = option.and_then(|option| option.env.as_deref()).filter(|variable| set(variable)) {
        return variable.to_owned();
    }
    match file {
        Some((path, table)) if table.keys().any(|key| key.replace('_', "-") == name) => {
            format!("file {}", path.display())
        }
        _ => "default".to_owned(),
    }
}

/// Whether the words of a command line say an option.
fn is_said(words: &[OsString], name: &str) -> bool {
    let (long, equals) = (format!("--{name}"), format!("--{name}="));
    words.iter().any(|word| word.to_str().is_some_and(|word| word == long || word.starts_with(&equals)))
}

/// The words of a command line with those of its file behind them, if it names one.
///
/// # Errors
/// `USAGE` when the file cannot be read, is no TOML, or sets what is no option.
pub fn with_file(mut words: Vec<OsString>, known: &[Known]) -> Result<Vec<OsString>> {
    let Some(path) = file(&words) else { return Ok(words) };
    let wrong = |what: &dyn std::fmt::Display| {
        Error::new(Code::Usage, format_args!("{}: {what}", path.display()), "correct the file")
    };
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
    let set = |variable: &str| std::env::var_os(variable).is_some();
    words.extend(from_text(&words, &text, known, set).map_err(|what| wrong(&what))?);
    Ok(words)
}

/// The words that the text of a file adds to those of a command line; `set` tells whether a variable is set.
///
/// # Errors
/// What is wrong with the text: it is no TOML, or sets what is no option.
pub fn from_text(
    words: &[OsString],
    text: &str,
    known: &[Known],
    set: impl Fn(&str) -> bool,
) -> Result<Vec<OsString>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    added(words, table, known, set)
}

fn file(words: &[OsString]) -> Option<PathBuf> {
    let (long, equals) = (format!("--{CONFIG}"), format!("--{CONFIG}="));
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if *word == *long {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix(&equals)) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os(CONFIG_VARIABLE).map(PathBuf::from)
}

fn added(
    words: &[OsString],
    table: toml::Table,
    known: &[Known],
    set: impl Fn(&str) -> bool,
) -> Result<Vec<OsString>, String> {
    let mut added = Vec::new();
    for (key, value) in table {
        let name = key.replace('_', "-");
        let option = known.iter().find(|option| option.long == name && name != CONFIG);
        let option = option.ok_or_else(|| format!("{key} is no option of this server"))?;
        let long = format!("--{name}");
        let equals = format!("{long}=");
        if is_said(words, &name) || option.env.as_deref().is_some_and(&set) {
            continue;
        }
        match (value, option.switch) {
            (Value::Boolean(true), true) => added.push(long.into()),
            (Value::Boolean(false), true) => {}
            (value, true) => return Err(format!("{key} is true or false, not {value}")),
            (value, false) => added.push(format!("{equals}{}", text(&value)?).into()),
        }
    }
    Ok(added)
}

fn text(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(true) => "on".to_owned(),
        Value::Boolean(false) => "off".to_owned(),
        Value::Array(values) => values.iter().map(text).collect::<Result<Vec<_>, _>>()?.join(","),
        other => return Err(format!("{other} is no value of an option")),
    })
}

/// The names of the settings that differ between two lists of (name, value), which have the same names.
pub fn differences(before: &Values, after: &Values) -> Vec<&'static str> {
    let pairs = before.iter().zip(after);
    pairs.filter(|(before, after)| before != after).map(|(before, _)| before.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<Known> {
        let option =
            |long: &str, env: &str, switch| Known { long: long.into(), env: Some(env.into()), switch };
        vec![
            option("nm", "PAIRFS_NM", false),
            option("data", "PAIRFS_DATA", false),
            option("failback", "PAIRFS_FAILBACK", false),
            option("fast", "PAIRFS_FAST", true),
        ]
    }

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn merged(line: &[&str], file: &str, env: &[&str]) -> Result<Vec<OsString>, String> {
        added(&words(line), file.parse().unwrap(), &known(), |name| env.contains(&name))
    }

    #[test]
    fn a_file_says_only_what_neither_words_nor_environment_say() {
        let file = "data = '/d'\nnm = ['a:1', 'b:2']\nfast = true\nfailback = 'manual'";
        let said = merged(&["ss", "--data", "/e", "--failback=auto"], file, &["PAIRFS_FAST"]).unwrap();
        assert_eq!(said, words(&["--nm=a:1,b:2"]));
        let said = merged(&["ss"], file, &[]).unwrap();
        assert_eq!(said.len(), 4);
        assert!(said.contains(&OsString::from("--fast")));
    }

    #[test]
    fn it_is_told_where_a_setting_came_from() {
        let table: toml::Table = "failback = 'manual'\ndata = '/d'\nnm = 'c:1'".parse().unwrap();
        let file = ("/etc/pairfs.toml".into(), table);
        let line = words(&["pairfs", "ss", "--nm=a:1", "--fast"]);
        let origin = |name| origin(name, &line, &known(), Some(&file), |name| name == "PAIRFS_DATA");
        assert_eq!(origin("nm"), "--nm");
        assert_eq!(origin("fast"), "--fast");
        assert_eq!(origin("data"), "PAIRFS_DATA");
        assert_eq!(origin("failback"), "file /etc/pairfs.toml");
        assert_eq!(origin("log-level"), "default");
    }

    #[test]
    fn what_cannot_change_while_a_server_runs_is_shown_as_it_is() {
        let values = |text: &str| vec![("relay", Some(text.to_owned())), ("data", Some(text.to_owned()))];
        let effective = Effective::new(values("a"), &known());
        effective.reread(values("b"), &known(), &["data"]);
        let shown: Vec<_> = effective.list().into_iter().filter_map(|setting| setting.value).collect();
        assert_eq!(shown, ["b", "a"]);
    }

    #[test]
    fn what_a_file_cannot_say_is_named() {
        assert!(merged(&[], "colour = 'red'", &[]).unwrap_err().contains("colour"));
        assert!(merged(&[], "fast = 'yes'", &[]).unwrap_err().contains("fast"));
        assert!(merged(&[], "[nm]\naddr = 'a'", &[]).is_err());
        let error = with_file(words(&["ss", "--config", "/no/such/file"]), &known()).unwrap_err();
        assert_eq!(error.code, Code::Usage);
        assert!(error.message.contains("/no/such/file"));
    }

    #[test]
    fn without_a_file_the_words_stay_as_they_are() {
        let line = words(&["ss", "--data", "d"]);
        assert_eq!(with_file(line.clone(), &known()).unwrap(), line);
    }
}
