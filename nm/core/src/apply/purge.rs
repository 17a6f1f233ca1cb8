//! Emptying the trash in bounded slices (R25): what has lain there for its time leaves tombstones. A folder goes after
//! everything in it, however many slices that takes; nobody can reach it meanwhile.

use super::context::{Context, Stop};
use super::entries::forget_owed;
use crate::keys;
use crate::store::Table;
use types::command::{Answer, Purge};
use types::limits::{PURGE_SLICE, TRASH_TIME};
use types::record::{Kind, Record};

/// Entries of the trash that one command looks at, to find those of a pair.
const LOOK: usize = 4096;

/// Purges what is due; the answer's rows are what it purged. None: there is nothing to do.
pub(super) fn purge(context: &mut Context<'_>, command: &Purge) -> Result<Answer, Stop> {
    let mut left = (command.limit as usize).min(PURGE_SLICE);
    let (mut looked, mut after) = (0, None);
    let due = context.now_ms().saturating_sub(TRASH_TIME.as_millis() as u64);
    while left > 0 && looked < LOOK {
        let Some((time, id)) = context.state().trash(after, 1)?.pop() else { break };
        after = Some((time, id));
        looked += 1;
        if time > due && command.short_pair == 0 {
            break; // all others are younger
        }
        let record = context.state().inode(id)?.filter(|record| record.kind() != Kind::Tombstone);
        if let Some(record) = record {
            // A folder may hold files of any pair.
            let wanted = time <= due || record.pair == command.short_pair || record.is_folder();
            if !wanted {
                continue;
            }
            if !purge_tree(context, record, &mut left)? {
                break;
            }
        }
        context.store().delete(Table::Trash, &keys::trash(time, id))?;
    }
    Ok(Answer { rows: context.rows(), ..Answer::default() })
}

/// Purges what is in `root`, then itself; whether that is done.
fn purge_tree(context: &mut Context<'_>, root: Record, left: &mut usize) -> Result<bool, Stop> {
    // From the root down to what is being emptied.
    let mut path = vec![root];
    while let Some(folder) = path.last().cloned() {
        if *left == 0 {
            return Ok(false);
        }
        let children = match folder.is_folder() {
            true => context.state().children(folder.inode(), "", "", *left)?,
            false => Vec::new(),
        };
        let mut deeper = None;
        for (_, child) in &children {
            if child.is_folder() {
                deeper = Some(child.clone());
                break;
            }
            context.store().delete(Table::Names, &keys::name_of(child))?;
            let bytes = child.head_version().map_or(0, |head| head.size);
            leave_tombstone(context, child.clone(), bytes)?;
            *left -= 1;
        }
        match deeper {
            Some(deeper) => path.push(deeper),
            None if children.is_empty() => {
                path.pop();
                if !path.is_empty() {
                    context.store().delete(Table::Names, &keys::name_of(&folder))?;
                }
                // What the root itself took was no longer counted from when it went into the trash.
                leave_tombstone(context, folder, 0)?;
                *left -= 1;
            }
            None => {}
        }
    }
    Ok(true)
}

/// Only that it is gone stays of a record, for the members to learn it. `bytes` of it were still counted.
fn leave_tombstone(context: &mut Context<'_>, mut record: Record, bytes: u64) -> Result<(), Stop> {
    if record.pair != 0 {
        forget_owed(context, &record)?;
        let pair = context.pair(record.pair)?;
        pair.files = pair.files.saturating_sub(1);
        pair.bytes = pair.bytes.saturating_sub(bytes);
    }
    record.bury();
    record.stamp = context.seq();
    record.changed_ms = context.now_ms();
    context.put_record(&mut record)
}
