//! Listing a folder, page by page: a million names stream.

use crate::core::{Core, parse};
use crate::info::entry;
use std::sync::Arc;
use types::Result;
use types::message::manager::{List, ListRequest};
use types::record::Record;

/// A listing in progress, in the order of [`sort_name`].
pub struct Listing {
    core: Arc<Core>,
    request: ListRequest,
    left: Option<u64>,
    done: bool,
    /// It is written as a folder; whether it is one has to be looked at.
    unsure: bool,
}

/// What listings are ordered by and continued after: a folder's name ends with `/`.
pub fn sort_name(record: &Record) -> String {
    if record.is_folder() { format!("{}/", record.name) } else { record.name.clone() }
}

impl Listing {
    pub(crate) fn new(core: Arc<Core>, path: &str, after: &str, limit: Option<u64>) -> Result<Listing> {
        let path = parse(path)?;
        let unsure = path.must_be_folder() && !path.is_root();
        let request =
            ListRequest { path: path.to_string(), after: after.to_owned(), ..ListRequest::default() };
        Ok(Listing { core, request, left: limit, done: limit == Some(0), unsure })
    }

    /// Where another listing would go on after the entries given so far; none at the end.
    pub fn position(&self) -> Option<&str> {
        (!self.done).then_some(self.request.after.as_str())
    }

    /// The next entries; none at the end.
    ///
    /// # Errors
    /// `NOT_FOUND`; `NOT_A_FOLDER` at a path that is written as one; `UNAVAILABLE` after the timeout.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        if std::mem::take(&mut self.unsure) {
            // A file is listed by itself.
            entry(&self.core, &format!("{}/", self.request.path)).await?;
        }
        while !self.done {
            self.request.limit = u32::try_from(self.left.unwrap_or(0)).unwrap_or(u32::MAX);
            let mut retry = self.core.retry();
            let request = || self.request.clone();
            let mut reply = self.core.manager.call::<List>(request, &mut retry).await?;
            if let Some(left) = &mut self.left {
                reply.entries.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= reply.entries.len() as u64;
            }
            self.done = reply.next.is_empty() || self.left == Some(0);
            self.request.after = reply.next;
            if !reply.entries.is_empty() {
                return Ok(Some(reply.entries));
            }
        }
        Ok(None)
    }
}
