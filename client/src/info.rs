//! Everything about one file or folder.

use crate::core::{Core, fits, parse};
use crate::lookup::{describe, locate};
use types::capability::right;
use types::ids::VersionNumber;
use types::message::manager::{Located, Placement};
use types::message::store::Durability;
use types::path::Quoted;
use types::record::{Record, Version, mark};
use types::{Error, Result};

/// Whether a member of the pair holds the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Server name.
    pub server: String,
    /// Whether it answers and has said that it holds the head durably; a write just made may take a moment.
    pub held: bool,
}

/// What is known of a file or folder.
#[derive(Clone, Debug)]
pub struct Info {
    /// Its path.
    pub path: String,
    /// The name manager's record, with all kept versions.
    pub record: Record,
    /// Who acts in its pair; none for folders.
    pub placement: Option<Placement>,
    /// Who holds the head; empty for folders.
    pub copies: Vec<Copy>,
    /// A newer version is owed by a server that is away: the head is what could be served without it (R11).
    pub behind: bool,
    /// How durable writes to it, or below it, are unless they say it themselves.
    pub durability: Durability,
}

impl Info {
    /// The head version.
    pub fn head(&self) -> Option<&Version> {
        self.record.head_version()
    }

    /// Versions that lost a race.
    pub fn conflicts(&self) -> impl Iterator<Item = &Version> {
        self.record.versions.iter().filter(|version| version.is(mark::CONFLICT))
    }

    /// Versions that only a server that is away holds.
    pub fn owed(&self) -> impl Iterator<Item = &Version> {
        self.record.versions.iter().filter(|version| version.is(mark::OWED))
    }
}

/// What the name manager has at a path.
pub(crate) async fn entry(core: &Core, path: &str) -> Result<Option<Record>> {
    match locate(&core.manager, &parse(path)?, right::READ, false, &mut core.retry()).await {
        Ok(located) => Ok(located.record),
        Err(error) if error.code == types::Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// How durable writes there are unless they say it themselves.
fn effective(located: &Located) -> Durability {
    match located.durability() {
        Durability::Unset => Durability::Async,
        said => said,
    }
}

/// What holds at a path, and the path of the folder that says so, if one does.
pub(crate) async fn durability(core: &Core, path: &str) -> Result<(Durability, Option<String>)> {
    let name = parse(path)?;
    let located = locate(&core.manager, &name, right::READ, false, &mut core.retry()).await?;
    let (durability, from) = (effective(&located), located.durability_from);
    if from == 0 {
        return Ok((durability, None));
    }
    // It is the path itself or a folder above.
    let mut at = name.clone();
    loop {
        let found = locate(&core.manager, &at, right::READ, false, &mut core.retry()).await?;
        if found.record.is_some_and(|record| record.id == from) {
            return Ok((durability, Some(at.to_string())));
        }
        match at.split_last() {
            Some((parent, _)) => at = parent,
            // It was moved meanwhile.
            None => return Ok((durability, None)),
        }
    }
}

/// Whether a version newer than the head is owed.
pub(crate) fn is_behind(record: &Record) -> bool {
    let head = record.head();
    record.versions.iter().any(|version| version.is(mark::OWED) && newer(version, head))
}

fn newer(version: &Version, head: VersionNumber) -> bool {
    head.is_none() || version.version() > head
}

pub(crate) async fn info(core: &Core, path: &str) -> Result<Info> {
    let name = parse(path)?;
    let located = describe(&core.manager, &name, &mut core.retry()).await?;
    let durability = effective(&located);
    let record = located.record.ok_or_else(|| Error::not_found(Quoted(path)))?;
    fits(&name, Some(&record))?;
    let members = located.placement.iter().flat_map(|placement| &placement.members);
    let copies = members
        .map(|member| Copy { server: member.name.clone(), held: located.held_by.contains(&member.name) })
        .collect();
    let behind = is_behind(&record);
    Ok(Info { path: name.to_string(), record, placement: located.placement, copies, behind, durability })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_behind_only_while_something_newer_than_its_head_is_owed() {
        let version = |number, marks| Version { epoch: 1, number, marks, ..Version::default() };
        let mut record =
            Record { versions: vec![version(1, 0), version(2, mark::OWED)], ..Record::default() };
        record.set_head(VersionNumber { epoch: 1, number: 1 });
        assert!(is_behind(&record));
        record.versions[1].marks = mark::CONFLICT;
        assert!(!is_behind(&record), "a conflict version is no newer head");
        record.versions = vec![version(1, mark::OWED), version(2, 0)];
        record.set_head(VersionNumber { epoch: 1, number: 2 });
        assert!(!is_behind(&record));
    }
}
