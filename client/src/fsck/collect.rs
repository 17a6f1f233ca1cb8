//! Gathers what is compared: the index from the name manager, inventories from both members.

use super::HeldFiles;
use crate::bounds::{FSCK_PAGE, VERIFY_PAGE, VERIFY_WAIT};
use crate::call::call;
use crate::core::Core;
use crate::list::Listing;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::time::Instant;
use types::capability::SignedCapability;
use types::message::manager::{MemberAddr, PairRecords, PairRecordsRequest, Placement};
use types::message::store::{HeldFile, Inventory, InventoryReply, InventoryRequest};
use types::record::{Record, Subject};
use types::{Code, Error, Result};

/// The rows of a pair's feed: each file once, at its latest.
pub(super) struct Index {
    pair: u32,
    end: u64,
    records: HashMap<u64, Record>,
    /// Which file stands where in the feed.
    rows: BTreeMap<u64, u64>,
    pub(super) placement: Placement,
    capability: SignedCapability,
}

impl Index {
    pub(super) fn new(pair: u32) -> Index {
        Index {
            pair,
            end: 0,
            records: HashMap::new(),
            rows: BTreeMap::new(),
            placement: Placement::default(),
            capability: SignedCapability::default(),
        }
    }

    /// Reads the rows that came since; gets a new capability too.
    pub(super) async fn read_on(&mut self, core: &Core) -> Result<()> {
        loop {
            let request = || PairRecordsRequest { pair: self.pair, after: self.end, limit: FSCK_PAGE };
            let page = core.manager.call::<PairRecords>(request, &mut core.retry()).await?;
            if let Some(placement) = page.placement {
                self.placement = placement;
            }
            if let Some(capability) = page.capability {
                self.capability = capability;
            }
            let empty = page.rows.is_empty();
            for row in page.rows {
                self.end = self.end.max(row.seq);
                if let Some(Subject::Record(record)) = row.subject {
                    self.take(row.seq, record);
                }
            }
            if page.end || empty {
                return Ok(());
            }
        }
    }

    fn take(&mut self, seq: u64, record: Record) {
        self.rows.insert(seq, record.id);
        if let Some(old) = self.records.insert(record.id, record)
            && old.seq != seq
        {
            self.rows.remove(&old.seq);
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Record> {
        self.records.get(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.records.keys().copied()
    }

    pub(super) fn files(&self) -> u64 {
        self.records.values().filter(|record| record.is_file()).count() as u64
    }

    /// Where a member that has `lag` rows to apply stands: rows beyond this one may be missing.
    pub(super) fn floor(&self, lag: u64) -> u64 {
        let lag = usize::try_from(lag).unwrap_or(usize::MAX);
        self.rows.keys().rev().nth(lag).copied().unwrap_or(0).max(if lag == 0 { self.end } else { 0 })
    }
}

/// One member and whether it answers.
pub(super) struct Member {
    pub(super) name: String,
    addr: String,
    pub(super) away: Option<String>,
}

/// Both members of a pair.
pub(super) struct Members {
    members: Vec<Member>,
    verify: bool,
}

impl Members {
    pub(super) fn new(index: &Index, verify: bool) -> Members {
        let members = index.placement.members.iter().map(|member| Member {
            name: member.name.clone(),
            addr: member.addr.clone(),
            away: member.addr.is_empty().then(|| "it never registered".to_owned()),
        });
        Members { members: members.collect(), verify }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter()
    }

    /// Everything each member holds.
    pub(super) async fn read_all(&mut self, core: &Core, index: &Index) -> HeldFiles {
        let verify = self.verify;
        let pages = self.members.iter_mut().map(|member| async move {
            let mut files = HashMap::new();
            if member.away.is_none()
                && let Err(error) = member.pages(core, index, verify, &mut files).await
            {
                member.away = Some(error.message);
            }
            files
        });
        futures_util::future::join_all(pages).await
    }

    /// One file again.
    pub(super) async fn read_again(&mut self, core: &Core, index: &Index, id: u64, files: &mut HeldFiles) {
        for (member, files) in self.members.iter_mut().zip(files) {
            if member.away.is_some() {
                continue;
            }
            let request = InventoryRequest { file: id, limit: 1, ..member.request(index, 0, self.verify) };
            match member.inventory(core, request).await {
                Ok(page) => {
                    files.remove(&id);
                    member.take(page, files);
                }
                Err(error) => member.away = Some(error.message),
            }
        }
    }
}

impl Member {
    fn request(&self, index: &Index, after: u64, verify: bool) -> InventoryRequest {
        InventoryRequest {
            pair: index.pair,
            after,
            limit: if verify { VERIFY_PAGE } else { FSCK_PAGE },
            capability: Some(index.capability.clone()),
            verify,
            file: 0,
        }
    }

    async fn pages(
        &self,
        core: &Core,
        index: &Index,
        verify: bool,
        files: &mut HashMap<u64, Arc<HeldFile>>,
    ) -> Result<()> {
        let mut after = 0;
        let mut capability = index.capability.clone();
        loop {
            let request = InventoryRequest {
                capability: Some(capability.clone()),
                ..self.request(index, after, verify)
            };
            let page = match self.inventory(core, request).await {
                // A long look outlives its capability.
                Err(error) if error.code == Code::BadCapability => {
                    let mut renewed = Index::new(index.pair);
                    renewed.end = index.end;
                    renewed.read_on(core).await?;
                    if renewed.capability == capability {
                        return Err(error);
                    }
                    capability = renewed.capability;
                    continue;
                }
                other => other?,
            };
            let (end, last) = (page.end, self.take(page, files));
            match last {
                Some(last) if !end && last > after => after = last,
                _ => return Ok(()),
            }
        }
    }

    fn take(&self, page: InventoryReply, files: &mut HashMap<u64, Arc<HeldFile>>) -> Option<u64> {
        let mut last = None;
        for file in page.files {
            let id = file.record.as_ref().map_or(0, |record| record.id);
            last = last.max(Some(id));
            files.insert(id, Arc::new(file));
        }
        last
    }

    async fn inventory(&self, core: &Core, request: InventoryRequest) -> Result<InventoryReply> {
        let deadline = Instant::now() + core.timeout.min(std::time::Duration::from_secs(10));
        let member = MemberAddr { name: self.name.clone(), addr: self.addr.clone(), incarnation: 0 };
        let connection = core.servers.get(&core.manager, &member, deadline).await?;
        let wait = if request.verify { VERIFY_WAIT } else { core.timeout };
        let answer = call::<Inventory>(&connection, &request, Bytes::new(), Instant::now() + wait).await;
        Ok(answer?.0)
    }
}

/// The paths of all folders by id, to name files by path.
pub(crate) async fn folders(core: &Arc<Core>) -> Result<HashMap<u64, String>> {
    let mut paths = HashMap::from([(types::ids::InodeId::ROOT.0, String::new())]);
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        let shown = if path.is_empty() { "/" } else { &path };
        let mut listing = Listing::new(core.clone(), shown, "", None)?;
        loop {
            let entries = match listing.next().await {
                Ok(Some(entries)) => entries,
                Ok(None) => break,
                // Removed meanwhile.
                Err(Error { code: Code::NotFound, .. }) => break,
                Err(error) => return Err(error),
            };
            for folder in entries.iter().filter(|entry| entry.is_folder()) {
                let path = format!("{path}/{}", folder.name);
                paths.insert(folder.id, path.clone());
                open.push(path);
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_a_member_still_has_to_apply_are_beyond_the_floor() {
        let mut index = Index::new(1);
        for (seq, id) in [(10, 1), (20, 2), (30, 3), (40, 1)] {
            index.end = seq;
            index.take(seq, Record { id, seq, ..Record::default() });
        }
        assert_eq!(index.rows.keys().copied().collect::<Vec<_>>(), [20, 30, 40], "a file stands once");
        assert_eq!(index.floor(0), 40);
        assert_eq!(index.floor(1), 30);
        assert_eq!(index.floor(2), 20);
        assert_eq!(index.floor(3), 0);
        assert_eq!(index.floor(99), 0);
    }
}
