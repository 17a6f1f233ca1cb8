//! Options of a server from a TOML file (`--config FILE`, `PAIRFS_CONFIG`): each counts if neither the command line nor
//! the environment says it. They are put behind the words of the command line, so one parser checks them all.

use std::ffi::OsString;
use std::path::PathBuf;
use toml::Value;
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
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| wrong(&error.message()))?;
    let set = |variable: &str| std::env::var_os(variable).is_some();
    words.extend(added(&words, table, known, set).map_err(|what| wrong(&what))?);
    Ok(words)
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
        let said =
            words.iter().any(|word| word.to_str().is_some_and(|w| w == long || w.starts_with(&equals)));
        if said || option.env.as_deref().is_some_and(&set) {
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
pub fn differences(before: &[(&'static str, String)], after: &[(&'static str, String)]) -> Vec<&'static str> {
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
