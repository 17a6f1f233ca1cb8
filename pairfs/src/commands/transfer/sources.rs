//! What a command line names together: no two sources may become one thing, of which the last would win.

use super::local;
use std::collections::HashMap;
use std::path::Path;
use types::path::means_content;
use types::{Code, Error, Result};

/// The last name of a local path; none for `.`, `..`, `/` and what ends with `/.`: what is in them is meant.
pub fn own_name(path: &Path) -> Result<Option<String>> {
    match path.file_name() {
        Some(name) if !means_content(&path.to_string_lossy()) => match name.to_str() {
            Some(name) => Ok(Some(name.to_owned())),
            None => Err(local::not_utf8(path)),
        },
        _ => Ok(None),
    }
}

/// Refuses sources that would overwrite each other in the destination, or with `delete` remove what the other brings.
/// Each is given as it was written and by its name there; none: what is in it is meant. `key`: what a name is known by
/// there.
///
/// # Errors
/// `USAGE`, with both.
pub fn check<'a>(
    sources: impl Iterator<Item = (&'a str, Option<String>)>,
    delete: bool,
    key: impl Fn(&str) -> String,
) -> Result<()> {
    let mut names = HashMap::new();
    let (mut whole, mut first): (Option<&str>, Option<&str>) = (None, None);
    for (source, name) in sources {
        let Some(name) = name else {
            if let Some(other) = first.filter(|_| delete) {
                return Err(each_others(source, other));
            }
            (whole, first) = (Some(source), first.or(Some(source)));
            continue;
        };
        if let Some(other) = whole.filter(|_| delete) {
            return Err(each_others(other, source));
        }
        if let Some(other) = names.insert(key(&name), source) {
            let what = format_args!(
                "{} and {} have one name ({}) in the destination",
                spelled(other),
                spelled(source),
                spelled(&name)
            );
            return Err(Error::new(Code::Usage, what, "rename one, or transfer them by two commands"));
        }
        first = first.or(Some(source));
    }
    Ok(())
}

fn each_others(whole: &str, other: &str) -> Error {
    let (whole, other) = (spelled(whole), spelled(other));
    let what = format_args!("with --delete what is in {whole} would not stand beside {other}");
    Error::new(Code::Usage, what, "transfer them by two commands, to two folders")
}

/// Names that are one in the store may look the same: what is not ASCII is spelled out.
pub fn spelled(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::path::lookup_name;

    #[test]
    fn a_path_that_ends_in_a_dot_means_what_is_in_it() {
        for (path, name) in [
            ("a/b", Some("b")),
            ("a/b/", Some("b")),
            ("a/b/.", None),
            ("a/b/./", None),
            (".", None),
            ("..", None),
            ("a/..", None),
            ("/", None),
        ] {
            assert_eq!(own_name(Path::new(path)).unwrap().as_deref(), name, "{path}");
        }
    }

    fn checked(sources: &[&str], delete: bool) -> Result<()> {
        let named = sources.iter().map(|source| (*source, own_name(Path::new(source)).unwrap()));
        check(named, delete, lookup_name)
    }

    #[test]
    fn sources_that_would_overwrite_each_other_are_named_both() {
        for good in [&["a/x"][..], &["a/x", "b/y", "c/."], &["a/.", "b/."], &["x", "X"]] {
            checked(good, false).unwrap();
        }
        for bad in [&["a/x", "b/x"][..], &["q", "a/x/", "b/x"], &["a/\u{e9}", "b/e\u{301}"], &["x", "x"]] {
            let error = checked(bad, false).unwrap_err();
            assert_eq!(error.code, Code::Usage);
            for source in &bad[bad.len() - 2..] {
                assert!(error.message.contains(&spelled(source)), "{}", error.message);
            }
        }
    }

    #[test]
    fn with_delete_no_source_may_remove_what_another_brings() {
        checked(&["a/."], true).unwrap();
        checked(&["a/x", "b/y"], true).unwrap();
        for bad in [["a/.", "b/."], ["a/.", "b"], ["b", "a/."]] {
            assert_eq!(checked(&bad, true).unwrap_err().code, Code::Usage);
        }
    }
}
