//! Where a path leads: file, pair and capability, remembered for at most a second (R23). Never the head:
//! what a file's content is, its acting member says each time.

use crate::bounds::LOOKUPS_MAX;
use crate::core::fits;
use crate::manager::Manager;
use crate::retry::Retry;
use prost::Message;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use types::capability::{Capability, SignedCapability, right};
use types::limits::PLACEMENT_TTL;
use types::message::manager::{Choice, Locate, LocateRequest, Located};
use types::message::store::Target;
use types::path::{PathName, Quoted};
use types::placement::choose;
use types::record::{Kind, Record, Version};
use types::{Code, Error, Result};

/// What is needed to ask a storage server for a file.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) target: Target,
    pub(crate) capability: SignedCapability,
    /// The head, if it was empty when it was looked up: a storage server may not have its row yet.
    pub(crate) empty: Option<Version>,
    /// How durable a write there is that does not say it itself, as it was looked up.
    pub(crate) durability: i32,
}

/// Looked up just now or remembered.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    pub(crate) found: Arc<Found>,
    pub(crate) remembered: bool,
}

/// A folder that may be written, and where its new files go.
#[derive(Debug)]
struct Folder {
    id: u64,
    /// Pair, weight and what to show to its servers; at least one.
    choices: Vec<(u32, u64, SignedCapability)>,
    /// How durable a write there is that does not say it itself.
    durability: i32,
}

impl Folder {
    /// How to write `name`: on the pair `wanted`, else on the one it draws.
    fn found(&self, name: &str, wanted: Option<u32>) -> Option<Found> {
        let drawn = || choose(self.id, name, self.choices.iter().map(|(pair, weight, _)| (*pair, *weight)));
        let pair = wanted.or_else(drawn)?;
        let (_, _, capability) = self.choices.iter().find(|(id, _, _)| *id == pair)?;
        let target = Target { pair, folder: self.id, name: name.to_owned(), file: 0 };
        let (capability, durability) = (capability.clone(), self.durability);
        Some(Found { target, capability, empty: None, durability })
    }
}

/// Remembers values for a second, boundedly: what is old goes first, then everything.
struct Memory<K, V = Found> {
    entries: HashMap<K, (Instant, Arc<V>)>,
    max: usize,
}

impl<K: Eq + Hash, V> Memory<K, V> {
    fn new(max: usize) -> Memory<K, V> {
        Memory { entries: HashMap::new(), max }
    }

    fn get(&self, key: &K, now: Instant) -> Option<Arc<V>> {
        self.entries.get(key).filter(|(at, _)| is_young(*at, now)).map(|(_, found)| found.clone())
    }

    fn put(&mut self, key: K, found: Arc<V>, now: Instant) {
        if self.entries.len() >= self.max {
            self.entries.retain(|_, (at, _)| is_young(*at, now));
        }
        if self.entries.len() >= self.max {
            self.entries.clear();
        }
        self.entries.insert(key, (now, found));
    }
}

fn is_young(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < PLACEMENT_TTL
}

/// Remembered lookups.
pub(crate) struct Lookups {
    /// Files, for reading.
    files: Mutex<Memory<String>>,
    /// Folders, for writing any name in them.
    folders: Mutex<Memory<String, Folder>>,
    /// Pairs of files that were looked up to be written: they need not be where a new one would go.
    placed: Mutex<Memory<String, u32>>,
    /// Folders, for reading any of their files that is on this pair.
    readable: Mutex<Memory<(u64, u32)>>,
}

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups {
            files: Mutex::new(Memory::new(LOOKUPS_MAX)),
            folders: Mutex::new(Memory::new(LOOKUPS_MAX)),
            placed: Mutex::new(Memory::new(LOOKUPS_MAX)),
            readable: Mutex::new(Memory::new(LOOKUPS_MAX)),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lookups {
    /// Finds a file to read it. With `fresh` nothing remembered will do.
    ///
    /// # Errors
    /// `NOT_FOUND`, `IS_A_FOLDER`, `DENIED`; `UNAVAILABLE` at the deadline.
    pub(crate) async fn for_reading(
        &self,
        manager: &Manager,
        path: &PathName,
        fresh: bool,
        retry: &mut Retry,
    ) -> Result<Lookup> {
        let key = path.to_string();
        if let Some(found) = locked(&self.files).get(&key, Instant::now()).filter(|_| !fresh) {
            return Ok(Lookup { found, remembered: true });
        }
        // From before the question: what the answer says may be that old.
        let asked = Instant::now();
        let located = locate(manager, path, right::READ, false, retry).await?;
        let file = located.record.as_ref().ok_or_else(|| Error::not_found(Quoted(&key)))?.id;
        let found = Arc::new(read_located(path, located, file)?);
        locked(&self.files).put(key, found.clone(), asked);
        let covers = Capability::decode(found.capability.body.clone()).map_err(Error::bad_request)?;
        if covers.file == 0 {
            let folder = (found.target.folder, found.target.pair);
            locked(&self.readable).put(folder, found.clone(), asked);
        }
        Ok(Lookup { found, remembered: false })
    }

    /// Takes in that a listing shows `entry` at `path`: if a capability for its folder was given within a
    /// second, it will do for reading it. What is wrong by then its storage server refuses, which compares
    /// file, folder and name.
    ///
    /// # Errors
    /// `BAD_PATH`.
    pub(crate) fn listed(&self, path: &str, entry: &Record) -> Result<()> {
        let path = PathName::given(path)?;
        let now = Instant::now();
        let folder = locked(&self.readable).entries.get(&(entry.parent, entry.pair)).cloned();
        if let Some((asked, folder)) = folder.filter(|(at, _)| is_young(*at, now) && entry.is_file()) {
            let target =
                Target { pair: entry.pair, folder: entry.parent, name: entry.name.clone(), file: entry.id };
            let durability = folder.durability;
            let found = Found { target, capability: folder.capability.clone(), empty: None, durability };
            locked(&self.files).put(path.to_string(), Arc::new(found), asked);
        }
        Ok(())
    }

    /// Finds where a file of this path is or would be, to write it: a new one on the pair `beside` if that is given.
    /// Another name of the same folder that was looked up within a second will do, unless `fresh`.
    ///
    /// # Errors
    /// `NOT_FOUND` when the folder is missing; `IS_A_FOLDER`, `NOT_A_FOLDER`, `DENIED`; `UNAVAILABLE` at
    /// the deadline.
    pub(crate) async fn for_writing(
        &self,
        manager: &Manager,
        path: &PathName,
        beside: Option<u32>,
        fresh: bool,
        retry: &mut Retry,
    ) -> Result<Lookup> {
        let (folder, name) =
            path.split_last().filter(|_| !path.must_be_folder()).ok_or_else(|| a_folder(path))?;
        let (key, file) = (folder.to_string(), path.to_string());
        let now = Instant::now();
        if let Some(folder) = locked(&self.folders).get(&key, now).filter(|_| !fresh) {
            let placed = locked(&self.placed).get(&file, now).map(|pair| *pair);
            if let Some(found) = folder.found(name, placed.or(beside)) {
                return Ok(Lookup { found: Arc::new(found), remembered: true });
            }
        }
        let asked = Instant::now();
        let request = || LocateRequest {
            path: file.clone(),
            rights: right::WRITE,
            may_be_missing: true,
            beside: beside.unwrap_or_default(),
            copies: false,
        };
        let mut located = manager.call::<Locate>(request, retry).await?;
        learn(manager, &located);
        let choices = std::mem::take(&mut located.choices);
        let is_there = located.record.is_some();
        let capability = located.capability.clone().unwrap_or_default();
        let covers = Capability::decode(capability.body.clone()).map_err(Error::bad_request)?;
        let found = Arc::new(read_located(path, located, covers.file)?);
        if covers.file == 0 {
            let folder = choices_of(&found, choices);
            locked(&self.folders).put(key, Arc::new(folder), asked);
        }
        if is_there || beside.is_some() {
            locked(&self.placed).put(file, Arc::new(found.target.pair), asked);
        }
        Ok(Lookup { found, remembered: false })
    }

    /// Forgets what is remembered of a path and its folder: it was wrong.
    pub(crate) fn forget(&self, path: &PathName) {
        if let Some((_, found)) = locked(&self.files).entries.remove(&path.to_string()) {
            locked(&self.readable).entries.remove(&(found.target.folder, found.target.pair));
        }
        locked(&self.placed).entries.remove(&path.to_string());
        if let Some((folder, _)) = path.split_last() {
            locked(&self.folders).entries.remove(&folder.to_string());
        }
    }

    /// Forgets everything: a folder was moved or removed.
    pub(crate) fn clear(&self) {
        locked(&self.files).entries.clear();
        locked(&self.folders).entries.clear();
        locked(&self.placed).entries.clear();
        locked(&self.readable).entries.clear();
    }
}

/// Asks the name manager for all it knows of a path and shows to no server: who holds the head, too.
pub(crate) async fn describe(manager: &Manager, path: &PathName, retry: &mut Retry) -> Result<Located> {
    let request = || LocateRequest { path: path.to_string(), copies: true, ..LocateRequest::default() };
    let located = manager.call::<Locate>(request, retry).await?;
    if let Some(placement) = &located.placement {
        manager.places().learn(placement.clone());
    }
    Ok(located)
}

/// Asks the name manager; what it says of the pair is learnt.
pub(crate) async fn locate(
    manager: &Manager,
    path: &PathName,
    rights: u32,
    may_be_missing: bool,
    retry: &mut Retry,
) -> Result<Located> {
    let request =
        || LocateRequest { path: path.to_string(), rights, may_be_missing, ..LocateRequest::default() };
    let located = manager.call::<Locate>(request, retry).await?;
    learn(manager, &located);
    fits(path, located.record.as_ref())?;
    Ok(located)
}

fn learn(manager: &Manager, located: &Located) {
    let choices = located.choices.iter().filter_map(|choice| choice.placement.as_ref());
    for placement in located.placement.iter().chain(choices) {
        manager.places().learn(placement.clone());
    }
}

/// Where new files of the folder go: what the name manager offers, or where it sent this one.
fn choices_of(found: &Found, offered: Vec<Choice>) -> Folder {
    let mut choices: Vec<_> = offered
        .into_iter()
        .filter_map(|choice| Some((choice.placement?.pair, choice.weight, choice.capability?)))
        .collect();
    if choices.is_empty() {
        choices.push((found.target.pair, 1, found.capability.clone()));
    }
    Folder { id: found.target.folder, choices, durability: found.durability }
}

fn read_located(path: &PathName, located: Located, file: u64) -> Result<Found> {
    if let Some(record) = &located.record {
        match record.kind() {
            Kind::File => {}
            Kind::Folder => return Err(a_folder(path)),
            _ => {
                let what = format_args!("{} is a symbolic link", Quoted(&path.to_string()));
                return Err(Error::new(Code::Unsupported, what, "use the path it points to"));
            }
        }
    }
    if path.must_be_folder() {
        let what = format_args!("{} is a file", Quoted(&path.to_string()));
        return Err(Error::new(Code::NotAFolder, what, "leave the trailing '/' out"));
    }
    let missing = |what| Error::bad_request(format_args!("the name manager named no {what}"));
    let pair = located.placement.as_ref().ok_or_else(|| missing("pair"))?.pair;
    let capability = located.capability.ok_or_else(|| missing("capability"))?;
    let head = located.record.as_ref().and_then(|record| record.head_version());
    let empty = head.filter(|head| head.is_empty()).cloned();
    let target = Target { pair, folder: located.folder, name: located.name, file };
    Ok(Found { target, capability, empty, durability: located.durability })
}

fn a_folder(path: &PathName) -> Error {
    let what = format_args!("{} is a folder", Quoted(&path.to_string()));
    Error::new(Code::IsAFolder, what, "give the path of a file")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Arc<Found> {
        let target = Target { pair: 1, folder: 1, name: "a".into(), file: 17 };
        Arc::new(Found { target, capability: SignedCapability::default(), empty: None, durability: 0 })
    }

    #[test]
    fn a_lookup_is_remembered_for_a_second_and_no_longer() {
        let mut memory = Memory::new(4);
        let start = Instant::now();
        memory.put("/a", found(), start);
        assert!(memory.get(&"/a", start + PLACEMENT_TTL / 2).is_some());
        assert!(memory.get(&"/a", start + PLACEMENT_TTL).is_none());
    }

    #[test]
    fn memory_is_bounded_whatever_is_looked_up() {
        let mut memory = Memory::new(4);
        let start = Instant::now();
        for name in 0..100 {
            memory.put(name, found(), start);
            assert!(memory.entries.len() <= 4);
        }
        assert!(memory.get(&99, start).is_some());
    }
}
