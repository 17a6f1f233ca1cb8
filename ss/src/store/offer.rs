//! What a store holds for a name manager that is made anew (R26), page by page.

use std::sync::atomic::Ordering;
use types::ids::SessionId;
use types::record::{Row, Subject};
use types::{Code, Result};

use super::trouble::lock;
use super::{Held, JournalPosition, State, Store};

impl Store {
    /// Up to where tombstones are forgotten: of the control feed (0) or the pair's (any other).
    pub fn forgotten(&self, feed: u32) -> u64 {
        self.shared.forgotten(feed).load(Ordering::Acquire)
    }

    /// Pairs with numbers above `after_pair`, then users with names behind `after_user`, at most `limit` of each, as rows.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn control_after(&self, after_pair: u32, after_user: &str, limit: usize) -> Result<Vec<Row>> {
        let index = &self.shared.index;
        let row = |seq, subject| Row { seq, subject: Some(subject) };
        let pairs = index.pairs_after(after_pair, limit)?.into_iter();
        let users = index.users_after(after_user, limit)?.into_iter();
        let pairs = pairs.map(|(seq, pair)| row(seq, Subject::Pair(pair)));
        Ok(pairs.chain(users.map(|(seq, user)| row(seq, Subject::User(user)))).collect())
    }

    /// Prepared contents whose records stand behind a position of the journal, in its order, at most `limit`; and where
    /// the next page begins, if there is one. One reader at a time is served at a cost in proportion to what is prepared.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn prepared_after(
        &self,
        after: JournalPosition,
        limit: usize,
    ) -> Result<(Vec<Held>, Option<JournalPosition>)> {
        let page = lock(&self.shared.offered).page(after, limit, || self.prepared_places())?;
        let held =
            page.entries.into_iter().filter_map(|(_, session)| self.shared.lookup(session).transpose());
        Ok((
            // One whose record is bad is the partner's to offer: here nobody knows where it was written to.
            held.filter(|held| !matches!(held, Err(error) if error.code == Code::Damaged))
                .filter(|held| !matches!(held, Ok(held) if held.state != State::Prepared))
                .collect::<Result<_>>()?,
            page.next,
        ))
    }

    /// Where the prepared contents stand, in the order of their sessions.
    fn prepared_places(&self) -> Result<Vec<(JournalPosition, SessionId)>> {
        let mut places = Vec::new();
        for session in self.shared.index.pending()? {
            if self.shared.doubt.is_over(session) {
                continue;
            }
            let entry = self.shared.index.content(session)?;
            let prepared = entry.filter(|entry| entry.state == State::Prepared);
            places.extend(prepared.map(|entry| (entry.position, session)));
        }
        Ok(places)
    }

    /// Whether a row has named this content: then the log had decided on it. What was only copied from the partner may
    /// wait for its row still.
    ///
    /// # Errors
    /// `Io`, `Damaged`.
    pub fn is_decided(&self, session: SessionId) -> Result<bool> {
        Ok(self.state(session)?.is_some_and(|state| matches!(state, State::Kept | State::Loose)))
    }
}
