//! What is compared, in the order of file ids, a page at a time: the index from the name manager and what each member
//! holds. A page is asked for while the one before it is compared.

use crate::bounds::{FSCK_PAGE, VERIFY_PAGE, VERIFY_WAIT};
use crate::call::call;
use crate::core::Core;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use types::capability::SignedCapability;
use types::message::manager::{MemberAddr, PairFiles, PairFilesReply, PairFilesRequest};
use types::message::store::{HeldFile, Inventory, InventoryReply, InventoryRequest};
use types::record::Record;
use types::{Code, Error, Result};

/// Pages that wait to be compared, of each source.
const AHEAD: usize = 1;
/// How long to try to reach a member.
const DIAL: Duration = Duration::from_secs(10);

/// Things with an id that come in its order.
pub(super) trait Numbered {
    fn id(&self) -> u64;
}

impl Numbered for Record {
    fn id(&self) -> u64 {
        self.id
    }
}

impl Numbered for HeldFile {
    fn id(&self) -> u64 {
        self.record.as_ref().map_or(0, |record| record.id)
    }
}

/// A page, or nothing behind the last one.
type Page<T> = Result<Option<Vec<T>>>;

/// One source, from its start to its end.
pub(super) struct Stream<T> {
    pages: mpsc::Receiver<Page<T>>,
    page: VecDeque<T>,
    ended: bool,
}

impl<T: Numbered> Stream<T> {
    fn new(pages: mpsc::Receiver<Page<T>>) -> Stream<T> {
        Stream { pages, page: VecDeque::new(), ended: false }
    }

    /// The id of what comes next; none at the end.
    pub(super) async fn next_id(&mut self) -> Result<Option<u64>> {
        while self.page.is_empty() && !self.ended {
            match self.pages.recv().await {
                Some(Ok(Some(page))) => self.page.extend(page),
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(error),
                None => return Err(Error::internal("a source of fsck ended early")),
            }
        }
        Ok(self.page.front().map(Numbered::id))
    }

    /// What comes next, if it is `id`.
    pub(super) fn take(&mut self, id: u64) -> Option<T> {
        if self.page.front()?.id() == id { self.page.pop_front() } else { None }
    }
}

/// A page of the index of `pair` behind file `after`.
pub(crate) async fn index_page(core: &Core, pair: u32, after: u64, limit: u32) -> Result<PairFilesReply> {
    let request = || PairFilesRequest { pair, after, limit };
    core.manager.call::<PairFiles>(request, &mut core.retry()).await
}

/// The files of a pair as the name manager has them.
pub(super) fn index(core: &Arc<Core>, pair: u32) -> Stream<Record> {
    let (send, pages) = mpsc::channel(AHEAD);
    let core = core.clone();
    tokio::spawn(async move {
        let mut after = 0;
        loop {
            let page = index_page(&core, pair, after, FSCK_PAGE).await;
            after = page.as_ref().map_or(0, |page| page.next);
            let last = after == 0;
            let told = send.send(page.map(|page| Some(page.records))).await;
            if told.is_err() || last {
                break;
            }
        }
        // Nobody may listen any more.
        let _ = send.send(Ok(None)).await;
    });
    Stream::new(pages)
}

/// One member of a pair.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) addr: MemberAddr,
    pair: u32,
    verify: bool,
    /// An operator's, for this pair.
    cover: SignedCapability,
}

impl Member {
    pub(super) fn new(addr: MemberAddr, pair: u32, verify: bool, cover: SignedCapability) -> Member {
        Member { addr, pair, verify, cover }
    }

    /// What it holds.
    pub(super) fn held(&self, core: &Arc<Core>) -> Stream<HeldFile> {
        let (send, pages) = mpsc::channel(AHEAD);
        let (core, mut member) = (core.clone(), self.clone());
        tokio::spawn(async move {
            let mut after = 0;
            loop {
                let page = member.page(&core, after, 0).await;
                let last = page.as_ref().ok().and_then(|page| page.files.last().map(Numbered::id));
                let goes_on =
                    page.as_ref().is_ok_and(|page| !page.end) && last.is_some_and(|last| last > after);
                after = last.unwrap_or(after);
                let told = send.send(page.map(|page| Some(page.files))).await;
                if told.is_err() || !goes_on {
                    break;
                }
            }
            // Nobody may listen any more.
            let _ = send.send(Ok(None)).await;
        });
        Stream::new(pages)
    }

    /// What it holds of one file.
    pub(super) async fn held_of(&mut self, core: &Core, file: u64) -> Result<Option<HeldFile>> {
        Ok(self.page(core, 0, file).await?.files.pop())
    }

    /// A page behind file `after`, or one `file`. A long look outlives its capability; then it gets another.
    async fn page(&mut self, core: &Core, after: u64, file: u64) -> Result<InventoryReply> {
        match self.inventory(core, after, file).await {
            Err(error) if error.code == Code::BadCapability => {
                let renewed = index_page(core, self.pair, u64::MAX, 1).await?;
                self.cover = renewed.capability.unwrap_or_default();
                self.inventory(core, after, file).await
            }
            other => other,
        }
    }

    async fn inventory(&self, core: &Core, after: u64, file: u64) -> Result<InventoryReply> {
        let page = if self.verify { VERIFY_PAGE } else { FSCK_PAGE };
        let request = InventoryRequest {
            pair: self.pair,
            after,
            limit: if file == 0 { page } else { 1 },
            capability: Some(self.cover.clone()),
            verify: self.verify,
            file,
        };
        let deadline = Instant::now() + core.timeout.min(DIAL);
        let connection = core.servers.get(&core.manager, &self.addr, deadline).await?;
        let wait = if self.verify { VERIFY_WAIT } else { core.timeout };
        let answer = call::<Inventory>(&connection, &request, Bytes::new(), Instant::now() + wait).await;
        Ok(answer?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(pages: Vec<Page<Record>>) -> Stream<Record> {
        let (send, receive) = mpsc::channel(pages.len().max(1));
        pages.into_iter().for_each(|page| drop(send.try_send(page)));
        Stream::new(receive)
    }

    fn page(ids: &[u64]) -> Page<Record> {
        Ok(Some(ids.iter().map(|id| Record { id: *id, ..Record::default() }).collect()))
    }

    #[tokio::test]
    async fn a_stream_goes_over_its_pages_and_empty_ones_to_its_end() {
        let mut files = stream(vec![page(&[3, 5]), page(&[]), page(&[9]), Ok(None)]);
        let mut seen = Vec::new();
        while let Some(id) = files.next_id().await.unwrap() {
            assert!(files.take(id + 1).is_none(), "another file is not taken for it");
            seen.push(files.take(id).unwrap().id);
        }
        assert_eq!(seen, [3, 5, 9]);
        assert_eq!(files.next_id().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_source_that_breaks_off_is_not_taken_for_its_end() {
        let mut files = stream(vec![page(&[3])]);
        assert_eq!(files.next_id().await.unwrap(), Some(3));
        files.take(3);
        assert!(files.next_id().await.is_err());
    }
}
