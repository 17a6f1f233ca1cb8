//! What people and files say as text: paths, patterns, versions, request keys, digests, key files, secrets, options.

use std::ffi::OsString;
use types::ids::{RequestKey, VersionNumber};
use types::limits::{NAME_MAX, PATH_MAX};
use types::path::{PathName, Quoted, lookup_name, means_content};
use types::pattern::Glob;

/// The text, or several with a line each.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    path(&text);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    pattern(first, rest);
    if let Ok(version) = text.parse::<VersionNumber>() {
        assert_eq!(version.to_string().parse(), Ok(version));
    }
    if let Ok(key) = text.parse::<RequestKey>() {
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    if let Some(identity) = client::Identity::parse(&text) {
        let said = format!("{} {} {}", identity.user, identity.key_id, identity.key_hex());
        assert_eq!(client::Identity::parse(&said), Some(identity));
    }
    if let Some(secret) = net::secret::parse(&text) {
        assert!((net::bounds::SECRET_MIN..=net::bounds::SECRET_MAX).contains(&secret.len()));
    }
    options(&text);
}

/// A path that is accepted is within the bounds, canonical, and read back from its text.
fn path(text: &str) {
    let _ = (Quoted(text).to_string(), means_content(text));
    for parsed in [PathName::parse(text), PathName::given(text)].into_iter().flatten() {
        let canonical = parsed.to_string();
        let again = PathName::parse(&canonical).expect("an accepted path is accepted");
        assert_eq!((again.names(), again.to_string()), (parsed.names(), canonical.clone()));
        assert!(canonical.len() <= PATH_MAX + 1 && canonical.starts_with('/'));
        for name in parsed.names() {
            assert!(!name.is_empty() && name.len() <= NAME_MAX && name != "." && name != "..");
            assert!(!name.contains(['/', '\0']));
            let looked_up = lookup_name(name);
            assert_eq!(lookup_name(&looked_up), looked_up, "the same name twice is not the same");
        }
        if let Some((parent, last)) = parsed.split_last() {
            let joined = parent.join(last).expect("a name of a path fits its parent");
            assert_eq!(joined.names(), parsed.names());
        }
    }
}

/// A pattern that is accepted answers, and means the same of names that are equal.
fn pattern(pattern: &str, path: &str) {
    let Ok(glob) = pattern.parse::<Glob>() else { return };
    for folder in [false, true] {
        let fits = glob.matches(path, folder);
        assert_eq!(glob.matches(&lookup_name(path), folder), fits, "names that are equal are not equal here");
    }
}

/// Options of a server from a file: none but those it has.
fn options(text: &str) {
    let known = |long: &str, switch| net::settings::Known { long: long.into(), env: None, switch };
    let known = [known("nm", false), known("data", false), known("fast", true)];
    let words = [OsString::from("ss"), OsString::from("--data=x")];
    let Ok(added) = net::settings::from_text(&words, text, &known, |_| false) else { return };
    for word in added {
        let word = word.to_str().expect("a text adds texts");
        assert!(word.starts_with("--nm=") || word == "--fast", "{word}");
    }
}
