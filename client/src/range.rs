//! Ranges of bytes as people write them, inclusive as in HTTP.

use std::str::FromStr;
use types::{Code, Error, Result};

/// Which bytes of a content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    /// All.
    #[default]
    All,
    /// From the first number to the second, both included.
    Between(u64, u64),
    /// From here to the end.
    From(u64),
    /// So many at the end.
    Last(u64),
}

impl Range {
    /// Where it begins and ends (excluded) in a content of `size` bytes. An end beyond the content's is cut.
    ///
    /// # Errors
    /// `BAD_RANGE` when it holds no byte of the content.
    pub fn within(self, size: u64) -> Result<(u64, u64)> {
        let (from, to) = match self {
            Range::All => return Ok((0, size)),
            Range::Between(from, to) => (from, to.saturating_add(1).min(size)),
            Range::From(from) => (from, size),
            Range::Last(count) => (size.saturating_sub(count), size),
        };
        if from < to {
            return Ok((from, to));
        }
        let what = format_args!("the range lies outside the content, which has {size} bytes");
        Err(Error::new(Code::BadRange, what, "give another range"))
    }
}

impl FromStr for Range {
    type Err = Error;

    fn from_str(text: &str) -> Result<Range> {
        let bad = || {
            let what = format_args!("'{text}' is not a range");
            Error::new(Code::BadRange, what, "write it as A-B (both included), A- or -N")
        };
        // `u64::from_str` would take a sign.
        let number = |text: &str| -> Result<u64> {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits).ok_or_else(bad)
        };
        match text.split_once('-').ok_or_else(bad)? {
            ("", last) => Ok(Range::Last(number(last)?)),
            (from, "") => Ok(Range::From(number(from)?)),
            (from, to) => {
                let (from, to) = (number(from)?, number(to)?);
                if from <= to { Ok(Range::Between(from, to)) } else { Err(bad()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_inclusive_as_in_http() {
        for (text, size, expected) in [
            ("0-0", 10, (0, 1)),
            ("2-5", 10, (2, 6)),
            ("2-99", 10, (2, 10)),
            ("7-", 10, (7, 10)),
            ("-3", 10, (7, 10)),
            ("-99", 10, (0, 10)),
            ("0-18446744073709551615", 10, (0, 10)),
        ] {
            assert_eq!(text.parse::<Range>().unwrap().within(size), Ok(expected), "{text}");
        }
        assert_eq!(Range::All.within(0), Ok((0, 0)));
    }

    #[test]
    fn a_range_outside_the_content_and_one_that_is_none_are_refused() {
        for text in ["", "-", "5", "b-c", "5-2", "1-2-3", "+1-2", "0x1-", "99999999999999999999-"] {
            assert_eq!(text.parse::<Range>().unwrap_err().code, Code::BadRange, "{text}");
        }
        for (text, size) in [("10-12", 10), ("10-", 10), ("-0", 10), ("0-0", 0), ("-1", 0)] {
            assert_eq!(text.parse::<Range>().unwrap().within(size).unwrap_err().code, Code::BadRange);
        }
    }
}
