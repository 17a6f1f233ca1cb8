//! Paths and names as people give them, checked once and then of another type.

use crate::error::{Code, Error, Result};
use crate::limits::{NAME_MAX, PATH_MAX};
use std::fmt;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A checked path from the root: zero or more names. `/a/b`, `a/b` and `a//b/` are the same path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathName {
    names: Vec<String>,
    /// Whether it was written with a trailing `/` or `/.`, which only a folder may bear.
    folder: bool,
}

impl PathName {
    /// The root folder.
    pub fn root() -> PathName {
        PathName { names: Vec::new(), folder: true }
    }

    /// Checks a path as messages and the log have it. [`Code::BadPath`] for NUL, `.`/`..` components, names over 255 bytes,
    /// paths over 4096 bytes, and the empty path.
    pub fn parse(text: &str) -> Result<PathName> {
        let bad = |what: &str, next: &str| {
            Err(Error::new(Code::BadPath, format_args!("{} {what}", Quoted(text)), next))
        };
        if text.is_empty() {
            return bad("is empty", "give a path such as /folder/name");
        }
        if text.len() > PATH_MAX {
            return bad("is longer than 4096 bytes", "use a shorter path");
        }
        let mut names = Vec::new();
        for name in text.split('/').filter(|name| !name.is_empty()) {
            if name == "." || name == ".." {
                return bad("contains '.' or '..'", "give the path from the root");
            }
            if name.len() > NAME_MAX {
                return bad("contains a name over 255 bytes", "use a shorter name");
            }
            if name.contains('\0') {
                return bad("contains a NUL", "names may hold anything but NUL and '/'");
            }
            names.push(name.to_owned());
        }
        Ok(PathName { names, folder: text.ends_with('/') })
    }

    /// Checks a path as people write it: also `/./a/b/.`, which is `/a/b/`, and `.`, which is the root. Only `..` stays
    /// refused: a text may have meant a folder that a link leads to. What is sent is the checked path, so nobody else has to
    /// know.
    ///
    /// # Errors
    /// As [`PathName::parse`].
    pub fn given(text: &str) -> Result<PathName> {
        let dots = text.split('/').any(|name| name == ".");
        if !dots || text.len() > PATH_MAX {
            return PathName::parse(text);
        }
        let names: Vec<&str> = text.split('/').filter(|name| *name != "." && !name.is_empty()).collect();
        let end = if text.ends_with('/') || means_content(text) { "/" } else { "" };
        PathName::parse(&format!("/{}{end}", names.join("/")))
    }

    /// Its names from the root on.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether it was written as only a folder may be: with a trailing `/` or `/.`.
    pub fn must_be_folder(&self) -> bool {
        self.folder
    }

    /// The parent and the last name; `None` for the root.
    pub fn split_last(&self) -> Option<(PathName, &str)> {
        let (last, parents) = self.names.split_last()?;
        Some((PathName { names: parents.to_vec(), folder: true }, last))
    }

    /// The path one name further down; the name is checked.
    pub fn join(&self, name: &str) -> Result<PathName> {
        let tail = PathName::parse(name)?;
        let mut names = self.names.clone();
        names.extend(tail.names);
        let joined = PathName { names, folder: tail.folder };
        if joined.to_string().len() > PATH_MAX { PathName::parse(&joined.to_string()) } else { Ok(joined) }
    }
}

impl fmt::Display for PathName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.names.is_empty() {
            return f.write_str("/");
        }
        self.names.iter().try_for_each(|name| write!(f, "/{name}"))
    }
}

/// Whether a path ends in `.`: as with cp it means what is in the folder, not the folder by its name.
pub fn means_content(text: &str) -> bool {
    text.trim_end_matches('/').rsplit('/').next() == Some(".")
}

/// What a name is looked up and ordered by: its NFC form (names equal after NFC are equal).
pub fn lookup_name(name: &str) -> String {
    match is_nfc_quick(name.chars()) {
        IsNormalized::Yes => name.to_owned(),
        _ => name.nfc().collect(),
    }
}

/// Shows text from outside in one line, with control characters escaped.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        f.write_str("'")?;
        for c in self.0.chars().take(SHOWN) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        f.write_str(if self.0.chars().nth(SHOWN).is_some() { "…'" } else { "'" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_same_path_may_be_written_in_several_ways() {
        let path = PathName::parse("/a/b").unwrap();
        for same in ["a/b", "//a//b"] {
            assert_eq!(PathName::parse(same).unwrap(), path);
        }
        for same in ["a/b", "//a//b", "./a/b", "/a/././b"] {
            assert_eq!(PathName::given(same).unwrap(), path);
        }
        for folder in ["a/b/", "a/b/.", "a/b/./", "/a/b//.//"] {
            let folder = PathName::given(folder).unwrap();
            assert!(folder.must_be_folder() && folder.names() == path.names());
        }
        for root in ["/", ".", "./", "/.", "//./."] {
            assert!(PathName::given(root).unwrap().is_root(), "{root}");
        }
        for name in ["a.", "/a/b.", "...", "/.a"] {
            assert!(!PathName::given(name).unwrap().must_be_folder(), "{name}");
        }
    }

    #[test]
    fn a_path_that_cannot_exist_is_refused() {
        let long_name = "n".repeat(256);
        let long_path = "a/".repeat(2049);
        for bad in ["", "a/../b", "..", "./..", "./a", "a\0b", long_name.as_str(), long_path.as_str()] {
            assert_eq!(PathName::parse(bad).unwrap_err().code, Code::BadPath, "{bad:?}");
            assert!(bad == "./a" || PathName::given(bad).unwrap_err().code == Code::BadPath, "{bad:?}");
        }
        assert!(PathName::parse(&"n".repeat(255)).is_ok());
    }

    #[test]
    fn names_equal_after_nfc_are_equal() {
        assert_eq!(lookup_name("e\u{301}"), lookup_name("\u{e9}"));
    }

    proptest! {
        #[test]
        fn a_checked_path_is_read_back_from_its_text(text in "\\PC{0,64}") {
            if let Ok(path) = PathName::parse(&text) {
                let again = PathName::parse(&path.to_string()).unwrap();
                prop_assert_eq!(again.names(), path.names());
            }
        }
    }
}
