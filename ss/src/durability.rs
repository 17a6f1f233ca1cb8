//! How durable a write has to be that does not say it itself: the nearest folder above that says it, by this server's
//! own records (R19). They come with the control feed, and who changes one is answered when every acting member has it.

use crate::store::Store;
use types::Result;
use types::ids::InodeId;
use types::limits::PATH_MAX;
use types::message::store::Durability;

/// What holds in a folder. None: a folder above it is not known here yet.
///
/// # Errors
/// `Io`.
pub fn inherited(store: &Store, folder: u64) -> Result<Option<Durability>> {
    let mut at = folder;
    // No path is deeper.
    for _ in 0..PATH_MAX {
        let record = store.record(at)?;
        let said = record.as_ref().map_or(Durability::Unset, |record| record.durability());
        if said != Durability::Unset {
            return Ok(Some(said));
        }
        match record {
            // A root that never said anything may have no row.
            _ if at == InodeId::ROOT.0 => return Ok(Some(Durability::Async)),
            Some(record) if record.parent != 0 => at = record.parent,
            _ => return Ok(None),
        }
    }
    Ok(None)
}
