//! What is prepared, in the order of the journal, for a reader that comes page by page: listed and sorted once, as the
//! index knows only sessions. To list anew for each page would cost the square of what is prepared.

use super::JournalPosition;
use types::Result;
use types::ids::SessionId;

/// The list of the reader that comes now; dropped with its last page.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    entries: Vec<(JournalPosition, SessionId)>,
}

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// In order.
    pub entries: Vec<(JournalPosition, SessionId)>,
    /// Where the next page begins; none if there is none.
    pub next: Option<JournalPosition>,
}

impl Listing {
    /// At most `limit` entries behind `after`. From the start, and for a reader whose list is not known, `list` gives all,
    /// in any order; it is asked only then.
    ///
    /// # Errors
    /// As `list`.
    pub fn page(
        &mut self,
        after: JournalPosition,
        limit: usize,
        list: impl FnOnce() -> Result<Vec<(JournalPosition, SessionId)>>,
    ) -> Result<Page> {
        if after == JournalPosition(0) || self.entries.is_empty() {
            self.entries = list()?;
            self.entries.sort_unstable();
        }
        let start = self.entries.partition_point(|(position, _)| *position <= after);
        let end = self.entries.len().min(start.saturating_add(limit));
        let entries = self.entries[start..end].to_vec();
        let next = entries.last().filter(|_| end < self.entries.len()).map(|(position, _)| *position);
        if next.is_none() {
            self.entries = Vec::new();
        }
        Ok(Page { entries, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const LIMIT: usize = 256;

    fn entry(number: u64) -> (JournalPosition, SessionId) {
        let mut session = [0; 16];
        session[..8].copy_from_slice(&number.to_be_bytes());
        (JournalPosition(number), SessionId(session))
    }

    /// In the order of sessions that nobody chose.
    fn shuffled(count: u64) -> Vec<(JournalPosition, SessionId)> {
        (0..count).map(|number| entry(1 + number * 7919 % count)).collect()
    }

    #[test]
    fn a_hundred_thousand_prepared_writes_are_listed_once_and_each_is_told_once_in_order() {
        const COUNT: u64 = 100_000;
        let (looked_at, mut listing) = (Cell::new(0), Listing::default());
        let list = || {
            looked_at.set(looked_at.get() + COUNT);
            Ok(shuffled(COUNT))
        };
        let (mut after, mut told) = (JournalPosition(0), Vec::new());
        loop {
            let page = listing.page(after, LIMIT, list).unwrap();
            assert!(page.entries.len() <= LIMIT);
            told.extend(page.entries);
            let Some(next) = page.next else { break };
            after = next;
        }
        assert_eq!(looked_at.get(), COUNT, "each prepared write is looked at once, not once a page");
        assert_eq!(told, (1..=COUNT).map(entry).collect::<Vec<_>>());
        assert_eq!(listing.entries.capacity(), 0, "nothing is kept for a reader that is done");
    }

    #[test]
    fn a_reader_goes_on_after_the_server_was_started_anew_and_begins_anew_with_what_is_there_then() {
        let page = |listing: &mut Listing, after, count| {
            listing.page(JournalPosition(after), 10, || Ok(shuffled(count))).unwrap()
        };
        let mut listing = Listing::default();
        assert_eq!(page(&mut listing, 0, 25).next, Some(JournalPosition(10)));
        let mut anew = Listing::default();
        let second = page(&mut anew, 10, 25);
        assert_eq!((second.entries[0], second.next), (entry(11), Some(JournalPosition(20))));
        // Another reader, when more is there.
        assert_eq!(page(&mut anew, 0, 30).entries[0], entry(1));
        assert_eq!(page(&mut anew, 20, 99), Page { entries: (21..=30).map(entry).collect(), next: None });
        assert_eq!(page(&mut Listing::default(), 0, 0), Page { entries: Vec::new(), next: None });
    }
}
