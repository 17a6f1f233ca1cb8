//! Trees that one worker each changes: folders made, files written, copied, moved and removed, alone or with all that is
//! around them. What should be there is worked out beside it ([`crate::oracle::trees`]).

use crate::load::{History, Value, bytes_of, failed, value_of};
use crate::oracle::trees::{Deed, Tree, after};
use client::{Client, Content, CopyOptions, MoveOptions, ReadOptions, RemoveOptions, WriteOptions};
use fastrand::Rng;
use types::message::store::Durability;
use types::{Code, Effect, Error, Result};

/// Names in one folder, of folders and of files.
const NAMES: usize = 3;
/// Entries of a tree, beyond which no more are made.
const ENTRIES: usize = 12;

/// A tree that was worked on: its root, and what may be in it. Nothing is done to it any more once that is not one thing.
#[derive(Clone, Debug)]
pub struct Grown {
    /// Its folder.
    pub root: String,
    /// What may be in it.
    pub may_be: Vec<Tree>,
    /// Contents of which nobody was told that they were written: a rebuild may make files of them.
    pub in_doubt: Vec<Value>,
}

/// A worker's tree.
pub struct Gardener {
    client: Client,
    worker: usize,
    history: History,
    random: Rng,
    /// Place of the present tree in the history.
    place: Option<usize>,
    planted: usize,
}

impl Gardener {
    /// Without a tree.
    pub fn new(client: Client, worker: usize, history: History, random: Rng) -> Gardener {
        Gardener { client, worker, history, random, place: None, planted: 0 }
    }

    /// Does one thing to the tree, or reads in it; begins another one if nobody knows how this one is.
    pub async fn work(&mut self) {
        let Some(place) = self.place else { return self.plant().await };
        let Grown { root, may_be, .. } = self.history.tree(place);
        let [tree] = &may_be[..] else {
            self.place = None;
            return;
        };
        if self.random.u8(0..4) == 0 {
            return self.read(&root, tree).await;
        }
        let deed = self.draw(tree);
        let then = after(tree, &deed);
        tracing::info!(%root, ?deed, "asks");
        let came = self.act(&root, &deed).await;
        tracing::info!(%root, ?deed, ?came, "is answered");
        let may_be = match came {
            Ok(()) => vec![then],
            Err(error) => {
                failed(&self.history, &root, &error, &[]);
                if let Deed::Write(path, _) | Deed::Copy(_, path) = &deed {
                    self.history.doubt(place, then.get(path).copied().flatten());
                }
                let is_nothing = error.effect == Effect::None && error.code != Code::OutcomeUnknown;
                if is_nothing { vec![tree.clone()] } else { vec![tree.clone(), then] }
            }
        };
        self.history.grow(place, may_be);
    }

    async fn plant(&mut self) {
        self.planted += 1;
        let root = format!("/tree-{}-{}", self.worker, self.planted);
        // Another root is tried if nobody knows of this one.
        match self.client.mkdir(&root, true, None).await {
            Ok(_) => self.place = Some(self.history.plant(root)),
            Err(error) => drop(failed(&self.history, &root, &error, &[])),
        }
    }

    fn draw(&mut self, tree: &Tree) -> Deed {
        let folders: Vec<&str> =
            tree.iter().filter(|(_, it)| it.is_none()).map(|(path, _)| &path[..]).collect();
        let files: Vec<&str> =
            tree.iter().filter(|(_, it)| it.is_some()).map(|(path, _)| &path[..]).collect();
        let any: Vec<&str> = tree.keys().map(String::as_str).collect();
        // At most two folders deep.
        let shallow = folders.iter().filter(|path| path.matches('/').count() < 2).copied();
        let parents: Vec<&str> = shallow.chain([""]).collect();
        let parent = parents[self.random.usize(..parents.len())];
        let file = format!("{parent}/file{}", self.random.usize(..NAMES));
        let folder = format!("{parent}/folder{}", self.random.usize(..NAMES));
        let is_full = tree.len() >= ENTRIES;
        let one =
            |random: &mut Rng, of: &[&str]| (!of.is_empty()).then(|| of[random.usize(..of.len())].to_owned());
        match self.random.u8(0..10) {
            0..2 if !tree.contains_key(&folder) && !is_full => Deed::Folder(folder),
            2..4 => match one(&mut self.random, &files) {
                Some(from) if !tree.contains_key(&file) && !is_full => Deed::Copy(from, file),
                _ => self.write(file),
            },
            4..7 => match one(&mut self.random, &any) {
                Some(from) => {
                    let to = if tree[&from].is_some() { file } else { folder };
                    let is_inside = format!("{to}/").starts_with(&format!("{from}/"));
                    // What is in a folder goes along, and nothing gets deeper than it may.
                    let deep = tree[&from].is_none() && !parent.is_empty();
                    match tree.contains_key(&to) || is_inside || deep {
                        true => Deed::Remove(from),
                        false => Deed::Move(from, to),
                    }
                }
                None => self.write(file),
            },
            _ => self.write(file),
        }
    }

    fn write(&self, file: String) -> Deed {
        Deed::Write(file, self.history.new_value())
    }

    /// Durably on both: what only one member has may be seen late, and is written past meanwhile (R11).
    async fn act(&mut self, root: &str, deed: &Deed) -> Result<()> {
        let (client, durability) = (&self.client, Durability::Sync);
        let at = |path: &str| format!("{root}{path}");
        match deed {
            Deed::Folder(path) => client.mkdir(&at(path), false, None).await.map(drop),
            Deed::Write(path, value) => {
                let options = WriteOptions { durability, ..WriteOptions::default() };
                client.write(&at(path), Content::from(bytes_of(*value)), &options).await.map(drop)
            }
            Deed::Copy(from, to) => {
                let options = CopyOptions { create_only: true, durability, ..CopyOptions::default() };
                client.copy(&at(from), &at(to), &options).await.map(drop)
            }
            Deed::Move(from, to) => {
                client.rename(&at(from), &at(to), &MoveOptions::default()).await.map(drop)
            }
            Deed::Remove(path) => {
                let now = self.random.bool();
                let options = RemoveOptions { recursive: true, now, ..RemoveOptions::default() };
                client.remove(&at(path), &options).await
            }
        }
    }

    async fn read(&mut self, root: &str, tree: &Tree) {
        let files: Vec<(&String, Value)> =
            tree.iter().filter_map(|(path, it)| Some((path, (*it)?))).collect();
        if files.is_empty() {
            return;
        }
        let (path, value) = files[self.random.usize(..files.len())];
        let path = format!("{root}{path}");
        match content(&self.client, &path).await {
            Ok(read) if read == Some(value) => {}
            Ok(read) => self.history.wrong(format!("{path} is content {read:?}, and {value} was written")),
            Err(error) => drop(failed(&self.history, &path, &error, &[])),
        }
    }
}

async fn content(client: &Client, path: &str) -> Result<Option<Value>> {
    let mut reader = client.read(path, &ReadOptions::default()).await?;
    Ok(value_of(&reader.to_end(4 << 20).await?))
}

/// What is in the tree of this root.
///
/// # Errors
/// What a request ended with.
pub async fn walk(client: &Client, root: &str) -> Result<Tree> {
    let (mut tree, mut folders) = (Tree::new(), vec![String::new()]);
    while let Some(folder) = folders.pop() {
        let mut listing = client.list(&format!("{root}{folder}"), "", None)?;
        while let Some(entries) = listing.next().await? {
            for entry in entries {
                let path = format!("{folder}/{}", entry.name);
                if entry.is_folder() {
                    folders.push(path.clone());
                    tree.insert(path, None);
                } else {
                    let value = content(client, &format!("{root}{path}")).await?;
                    let bad =
                        || Error::new(Code::Damaged, format_args!("{path} is nothing that was written"), "");
                    tree.insert(path.clone(), Some(value.ok_or_else(bad)?));
                }
            }
        }
    }
    Ok(tree)
}
