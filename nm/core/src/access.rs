//! Who may do what: rights come from owning a file or a folder above it, and from grants there.

use crate::state::State;
use crate::store::StoreError;
use types::capability::right;
use types::ids::InodeId;
use types::record::Record;

/// What `user` may do with an inode, and since when nothing above it has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Bits of [`right`].
    pub bits: u32,
    /// Highest stamp of the inode's folders: a capability of an earlier stamp is stale (R14).
    pub stamp: u64,
    /// Whether a path leads to it (it does not lie in the trash).
    pub reachable: bool,
    /// How durable writes to it, or into it, are unless they say it themselves, and the folder that says so (R19):
    /// the nearest one; 0: none does.
    pub durability: (i32, u64),
}

fn own_rights(record: &Record, user: &str) -> u32 {
    if record.owner == user {
        return right::ALL;
    }
    record.access.iter().filter(|grant| grant.user == user).fold(0, |bits, grant| bits | grant.rights)
}

/// The rights of `user` on `record`; the stamp is that of the folders above it.
pub fn rights(state: State<'_>, record: &Record, user: &str) -> Result<Rights, StoreError> {
    let chain = state.ancestors(record)?;
    let mut bits = own_rights(record, user);
    let mut stamp = 0;
    let mut durability = said(record);
    for folder in &chain {
        if durability.1 == 0 {
            durability = said(folder);
        }
        bits |= own_rights(folder, user);
        stamp = stamp.max(folder.stamp);
    }
    if bits & right::WRITE != 0 {
        bits |= right::READ;
    }
    let top = chain.last().unwrap_or(record);
    Ok(Rights { bits, stamp, reachable: top.id == InodeId::ROOT.0, durability })
}

/// What a folder says of durability, and that it does.
fn said(folder: &Record) -> (i32, u64) {
    if folder.durability == 0 { (0, 0) } else { (folder.durability, folder.id) }
}

/// The rights of `user` on `record`, which lies in the folder that `in_folder` ([`rights_in`]) is about.
pub fn rights_below(in_folder: Rights, record: &Record, user: &str) -> Rights {
    let mut bits = own_rights(record, user) | in_folder.bits;
    if bits & right::WRITE != 0 {
        bits |= right::READ;
    }
    let own = said(record);
    Rights { bits, durability: if own.1 == 0 { in_folder.durability } else { own }, ..in_folder }
}

/// The rights of `user` on `folder` as a place for its children: the stamp includes the folder's own.
pub fn rights_in(state: State<'_>, folder: &Record, user: &str) -> Result<Rights, StoreError> {
    let mut found = rights(state, folder, user)?;
    found.stamp = found.stamp.max(folder.stamp);
    Ok(found)
}
