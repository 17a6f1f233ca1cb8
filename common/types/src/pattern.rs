//! Patterns for names, as shells have them: `*` and `?` within a name, `[a-z]`, `**` for any folders.

use crate::path::{Quoted, lookup_name};
use crate::{Code, Error, Result};
use std::str::FromStr;

/// A checked pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    /// What each name of the path must be like.
    names: Vec<Part>,
    /// It has a `/`, so it is for the whole path; else for the base name.
    whole: bool,
    /// It ends with `/`: for folders only.
    folders: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `**`: any number of names.
    Any,
    /// One name.
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`.
    Star,
    /// `?`.
    One,
    /// `[…]`; the flag is that of `[!…]`.
    Class(Vec<(char, char)>, bool),
    Char(char),
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Token::Star | Token::One => true,
            Token::Class(ranges, not) => ranges.iter().any(|(from, to)| (*from..=*to).contains(&c)) != *not,
            Token::Char(own) => *own == c,
        }
    }
}

impl FromStr for Glob {
    type Err = Error;

    fn from_str(text: &str) -> Result<Glob> {
        let folders = text.ends_with('/');
        let body = text.trim_end_matches('/');
        let whole = body.contains('/');
        let parts = body.split('/').filter(|part| !part.is_empty());
        let names: Vec<Part> = parts.map(part).collect::<Result<_>>()?;
        if names.is_empty() {
            return Err(bad(text, "names nothing"));
        }
        Ok(Glob { names, whole, folders })
    }
}

fn bad(text: &str, what: &str) -> Error {
    let next = "write it as *.txt, docs/**/*.md or [a-z]?; \\ before a character takes it as it is";
    Error::new(Code::Usage, format_args!("the pattern {} {what}", Quoted(text)), next)
}

fn part(text: &str) -> Result<Part> {
    if text == "**" {
        return Ok(Part::Any);
    }
    // Names equal after NFC are equal.
    let name = lookup_name(text);
    let (mut tokens, mut chars) = (Vec::new(), name.chars());
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::One,
            '[' => class(&mut chars).ok_or_else(|| bad(text, "has a [ without its ]"))?,
            '\\' => Token::Char(chars.next().ok_or_else(|| bad(text, "ends with a \\"))?),
            other => Token::Char(other),
        });
    }
    Ok(Part::Name(tokens))
}

/// What stands after `[`, up to its `]`; a `]` right at the beginning is one of the characters.
fn class(chars: &mut std::str::Chars<'_>) -> Option<Token> {
    let (mut ranges, mut not, mut first) = (Vec::new(), false, true);
    loop {
        let from = match chars.next()? {
            '!' | '^' if first && !not => {
                not = true;
                continue;
            }
            ']' if !first => return Some(Token::Class(ranges, not)),
            '\\' => chars.next()?,
            other => other,
        };
        first = false;
        let mut ahead = chars.clone();
        let range = (ahead.next() == Some('-')).then(|| ahead.next()).flatten().filter(|to| *to != ']');
        let to = match range {
            Some(to) => {
                *chars = ahead;
                to
            }
            None => from,
        };
        ranges.push((from, to));
    }
}

impl Glob {
    /// Whether it means the file or folder at `path`, names separated by `/`.
    pub fn matches(&self, path: &str, is_folder: bool) -> bool {
        if self.folders && !is_folder {
            return false;
        }
        let names: Vec<String> = match self.whole {
            true => path.split('/').filter(|name| !name.is_empty()).map(lookup_name).collect(),
            false => path.trim_end_matches('/').rsplit('/').take(1).map(lookup_name).collect(),
        };
        let fits = |part: &Part, name: &String| match part {
            Part::Any => true,
            Part::Name(tokens) => name_fits(tokens, name),
        };
        wild(&self.names, &names, |part| *part == Part::Any, fits)
    }
}

fn name_fits(tokens: &[Token], name: &str) -> bool {
    let chars: Vec<char> = name.chars().collect();
    wild(tokens, &chars, |token| *token == Token::Star, |token, c| token.takes(*c))
}

/// Whether `pattern` takes all of `items`, where a star takes any number of them. Only the last star is ever
/// given more: so the time is the product of the lengths at most.
fn wild<P, I>(
    pattern: &[P],
    items: &[I],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &I) -> bool,
) -> bool {
    let (mut p, mut i) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while i < items.len() {
        if pattern.get(p).is_some_and(&is_star) {
            star = Some((p, i));
            p += 1;
        } else if pattern.get(p).is_some_and(|part| fits(part, &items[i])) {
            p += 1;
            i += 1;
        } else if let Some((at, taken)) = star {
            star = Some((at, taken + 1));
            (p, i) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(glob: &str, path: &str) -> bool {
        glob.parse::<Glob>().unwrap().matches(path, false)
    }

    #[test]
    fn without_a_slash_a_pattern_is_for_the_base_name() {
        for (glob, path, expected) in [
            ("*.txt", "/a/b/c.txt", true),
            ("*.txt", "/a/b.txt/c", false),
            ("?at", "/cat", true),
            ("?at", "/at", false),
            ("[a-c]*", "/x/beta", true),
            ("[!a-c]*", "/x/beta", false),
            ("[]x]", "/]", true),
            ("a\\*", "/a*", true),
            ("a\\*", "/ab", false),
            ("*a*b*c*", "/xxaxxbxxcxx", true),
            ("e\u{301}*", "/\u{e9}t\u{e9}", true),
        ] {
            assert_eq!(matches(glob, path), expected, "{glob} {path}");
        }
    }

    #[test]
    fn with_a_slash_it_is_for_the_whole_path_and_a_star_stays_within_a_name() {
        for (glob, path, expected) in [
            ("/a/*.txt", "/a/b.txt", true),
            ("a/*.txt", "/a/b.txt", true),
            ("/a/*.txt", "/a/b/c.txt", false),
            ("/a/**/*.txt", "/a/b/c.txt", true),
            ("/a/**/*.txt", "/a/c.txt", true),
            ("**/b/*", "/a/b/c", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/b/c", false),
        ] {
            assert_eq!(matches(glob, path), expected, "{glob} {path}");
        }
        assert!("b/".parse::<Glob>().unwrap().matches("/a/b", true));
        assert!(!matches("b/", "/a/b"));
    }

    #[test]
    fn a_pattern_that_means_nothing_is_refused() {
        for bad in ["", "/", "[a", "a\\"] {
            assert_eq!(bad.parse::<Glob>().unwrap_err().code, Code::Usage, "{bad}");
        }
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        assert!(!matches(&"*a".repeat(100), &"a".repeat(255).replace("aaa", "aab")));
    }
}
