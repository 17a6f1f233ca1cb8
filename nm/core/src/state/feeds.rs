//! Reading the feeds: their rows, and the files and tombstones of a pair page by page.

use super::{State, decode};
use crate::keys::{self, RowSubject};
use crate::store::{StoreError, Table};
use prost::Message;
use types::record::{Record, Row, Subject};

impl State<'_> {
    /// What a row points to, as it is now.
    fn row(&self, seq: u64, subject: &RowSubject) -> Result<Option<Row>, StoreError> {
        let subject = match subject {
            RowSubject::Inode(id) => self.inode(*id)?.map(Subject::Record),
            RowSubject::Pair(id) => self.pair(*id)?.map(Subject::Pair),
            RowSubject::User(name) => self.user(name)?.and_then(|user| user.public).map(Subject::User),
        };
        Ok(subject.map(|subject| Row { seq, subject: Some(subject) }))
    }

    /// The rows of `feed` after `after`, in order: at most `max_rows` of them, and about `max_bytes`.
    pub fn feed_rows(
        &self,
        feed: u32,
        after: u64,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        let from = keys::feed(feed, after.saturating_add(1));
        self.store.scan(
            Table::Feed,
            &from,
            &keys::after_prefix(&feed.to_be_bytes()),
            &mut |key, value| {
                found.push((keys::feed_seq(key), RowSubject::decode(value)));
                found.len() < max_rows
            },
        )?;
        let mut rows = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for (seq, subject) in found {
            let subject = subject.ok_or_else(|| StoreError::damaged("a row of the feed does not decode"));
            let subject = self.told(subject)?;
            if let Some(row) = self.row(seq, &subject)? {
                bytes += row.encoded_len();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Seq of the last row of `feed`.
    pub fn feed_end(&self, feed: u32) -> Result<u64, StoreError> {
        match feed {
            0 => Ok(self.counters()?.control_end),
            pair => Ok(self.pair(pair)?.map_or(0, |pair| pair.feed_end)),
        }
    }

    /// Whether `feed` has a row after `after` with a number up to `upto`.
    pub fn feed_has(&self, feed: u32, after: u64, upto: u64) -> Result<bool, StoreError> {
        let mut any = false;
        let to = keys::feed(feed, upto.saturating_add(1));
        self.store.scan(Table::Feed, &keys::feed(feed, after.saturating_add(1)), &to, &mut |_, _| {
            any = true;
            false
        })?;
        Ok(any)
    }

    /// How many rows of `feed` come after `after`, and the bytes of their heads.
    pub fn feed_count(&self, feed: u32, after: u64) -> Result<(u64, u64), StoreError> {
        let (mut rows, mut inodes) = (0, Vec::new());
        let from = keys::feed(feed, after.saturating_add(1));
        self.store.scan(Table::Feed, &from, &keys::after_prefix(&feed.to_be_bytes()), &mut |_, value| {
            rows += 1;
            if let Some(RowSubject::Inode(id)) = RowSubject::decode(value) {
                inodes.push(id);
            }
            true
        })?;
        let mut bytes = 0;
        for id in inodes {
            bytes +=
                self.inode(id)?.and_then(|record| record.head_version().map(|head| head.size)).unwrap_or(0);
        }
        Ok((rows, bytes))
    }

    /// Up to where tombstones of `feed` have been collected (R24).
    pub fn collected(&self, feed: u32) -> Result<u64, StoreError> {
        let bytes = self.store.get(Table::Meta, &keys::collected(feed))?;
        Ok(bytes.and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    /// The subject of a row, if it is a record.
    pub(crate) fn inode_at(&self, feed: u32, seq: u64) -> Result<Option<Record>, StoreError> {
        let subject = self.store.get(Table::Feed, &keys::feed(feed, seq))?;
        match subject.and_then(|bytes| RowSubject::decode(&bytes)) {
            Some(RowSubject::Inode(id)) => self.inode(id),
            _ => Ok(None),
        }
    }

    /// The rows of `feed` after `after` and up to `upto` that are tombstones, at most `limit`, looking at `look` rows
    /// at most; and up to where that was.
    pub fn tombstones(
        &self,
        feed: u32,
        after: u64,
        upto: u64,
        limit: usize,
        look: usize,
    ) -> Result<(Vec<u64>, u64), StoreError> {
        let mut rows = Vec::new();
        let to = keys::feed(feed, upto.saturating_add(1));
        self.store.scan(
            Table::Feed,
            &keys::feed(feed, after.saturating_add(1)),
            &to,
            &mut |key, value| {
                rows.push((keys::feed_seq(key), RowSubject::decode(value)));
                rows.len() < look
            },
        )?;
        let mut reach = if rows.len() < look { upto } else { after };
        let (mut found, whole) = (Vec::new(), rows.len() < look);
        for (seq, subject) in rows {
            if let Some(RowSubject::Inode(id)) = subject
                && self.inode(id)?.is_some_and(|record| record.is_tombstone())
            {
                found.push(seq);
            }
            if !whole || found.len() >= limit {
                reach = seq;
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok((found, reach))
    }

    /// Ids above `after` of the records of `feed`, ascending, looking at `look` records at most; and up to which id
    /// that is all of them.
    pub fn ids_after(&self, feed: u32, after: u64, look: usize) -> Result<(Vec<u64>, u64), StoreError> {
        let (mut ids, mut looked, mut reach, mut failed) = (Vec::new(), 0, u64::MAX, None);
        let from = keys::inode(after.saturating_add(1));
        self.store.scan(Table::Inodes, &from, &[], &mut |_, value| match decode::<Record>(value) {
            Ok(record) => {
                looked += 1;
                if record.pair == feed {
                    ids.push(record.id);
                }
                let full = looked >= look;
                if full {
                    reach = record.id;
                }
                !full
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok((ids, reach)), Err)
    }

    /// The records of the files of `pair` with ids after `after`, in order: at most `max` of them, and about `max_bytes`.
    /// And after which id to go on; 0 at the end.
    pub fn files_of(
        &self,
        pair: u32,
        after: u64,
        max: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        /// Files of other pairs are passed over, but not for ever.
        const LOOKED_AT: usize = 4_096;
        let (mut found, mut bytes, mut looked, mut last, mut full) = (Vec::new(), 0, 0, 0, false);
        let mut failed = None;
        self.store.scan(Table::Inodes, &keys::inode(after.saturating_add(1)), &[], &mut |_, value| {
            let record: Record = match decode(value) {
                Ok(record) => record,
                Err(error) => {
                    failed = Some(error);
                    return false;
                }
            };
            (last, looked) = (record.id, looked + 1);
            if record.pair == pair {
                bytes += value.len();
                found.push(record);
            }
            full = found.len() >= max || bytes >= max_bytes || looked >= LOOKED_AT;
            !full
        })?;
        failed.map_or(Ok((found, if full { last } else { 0 })), Err)
    }
}
