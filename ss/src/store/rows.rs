//! Rows of a feed, and the small contents that come with them.

use types::ids::SessionId;
use types::mutation::{self, Mutation};
use types::record::{Row, Subject};
use types::{Error, Result};

use super::apply::Outcome;
use super::change::{Change, ContentRecord, RowRecord, session_bytes};
use super::content::Content;
use super::{Applied, Store};

impl Store {
    /// Applies rows of a feed that are as the index has them now; see [`apply_page`](Self::apply_page).
    ///
    /// # Errors
    /// Those of [`apply_page`](Self::apply_page).
    pub async fn apply(&self, feed: u32, rows: Vec<Row>) -> Result<Vec<Applied>> {
        self.apply_page(feed, rows, u64::MAX).await
    }

    /// Applies rows of a feed and answers when they are durable, one answer for each. A row that is not newer
    /// than what is here does nothing. Prepared contents that a row names become versions. `collected`: up to where
    /// tombstones of the feed had been collected where the rows were read (R24).
    ///
    /// # Errors
    /// `Changed`: a row was read before tombstones were collected that are forgotten here; it is to be read again.
    /// `DiskFull`: some may be applied, none is acknowledged. `Io`, outcome unknown: out of service.
    pub async fn apply_page(&self, feed: u32, rows: Vec<Row>, collected: u64) -> Result<Vec<Applied>> {
        self.apply_brought(feed, rows, collected, Vec::new()).await
    }

    /// As [`apply_page`](Self::apply_page), with small contents that were copied from the partner for these rows: they
    /// are kept as by [`keep_fetched`](Self::keep_fetched), and one sync is for all.
    ///
    /// # Errors
    /// Those of [`apply_page`](Self::apply_page).
    pub async fn apply_brought(
        &self,
        feed: u32,
        rows: Vec<Row>,
        collected: u64,
        contents: Vec<(SessionId, Content)>,
    ) -> Result<Vec<Applied>> {
        let mut applied: Vec<Applied> = rows.iter().map(|r| Applied { seq: r.seq, newer: false }).collect();
        let (mut changes, mut places) = (Vec::new(), Vec::new());
        for (session, content) in contents {
            if content.has_extents() {
                return Err(Error::internal("a content in extents is kept on its own"));
            }
            let record = ContentRecord { session: session_bytes(session), ..ContentRecord::default() };
            changes.extend(self.content_changes(record, Some(content), true).await?.0);
        }
        let brought = changes.len();
        for (place, row) in rows.into_iter().enumerate() {
            // What is known already costs no record. It is looked at again where it counts, in order.
            if self.is_news(&row)? {
                let record = RowRecord { feed, row: Some(row), collected, ..RowRecord::default() };
                changes.push(Change::Row(record));
                places.push(place);
            }
        }
        if changes.is_empty() {
            return Ok(applied);
        }
        let mut reply = self.change(changes, None, true).await?;
        let rows = reply.outcomes.split_off(brought.min(reply.outcomes.len()));
        for outcome in reply.outcomes {
            if let Outcome::Refused(error) = outcome {
                return Err(error);
            }
        }
        for (place, outcome) in places.into_iter().zip(rows) {
            match outcome {
                Outcome::Row { newer } => applied[place].newer = newer,
                Outcome::Refused(error) => return Err(error),
                Outcome::Done => {}
            }
        }
        Ok(applied)
    }

    fn is_news(&self, row: &Row) -> Result<bool> {
        Ok(match &row.subject {
            Some(Subject::Record(record)) => {
                let stored = self.shared.stored_record(record.id)?;
                mutation::is(Mutation::ApplyOutOfOrder) || stored.is_none_or(|stored| stored.seq < row.seq)
            }
            Some(_) => true,
            None => false,
        })
    }
}
