//! Tombstones that everybody has applied go, and what an old disk held beyond the index is told of (R24).

use super::context::{Context, Stop, pair_event, refuse};
use super::names;
use crate::collect::floor;
use crate::keys;
use crate::store::Table;
use types::Code;
use types::command::{Answer, Collect, Compared};
use types::limits::COLLECT_SLICE;
use types::record::Damage;

/// Drops tombstones that the durable cursors of all members that count have passed.
pub(super) fn collect(context: &mut Context<'_>, command: &Collect) -> Result<Answer, Stop> {
    let now = context.now_ms();
    let servers = context.servers()?;
    let passed = floor(&servers, command.feed, now);
    if passed.is_none_or(|passed| passed < command.upto) {
        return refuse(
            Code::Changed,
            format_args!("a member has not applied feed {} up to {}", command.feed, command.upto),
            "collect what all have applied",
        );
    }
    let listed = command.tombstones.iter().take(COLLECT_SLICE).filter(|seq| **seq <= command.upto);
    for seq in listed {
        // Nothing else goes, whatever the list says.
        let Some(record) = context.state().inode_at(command.feed, *seq)? else { continue };
        if record.is_tombstone() && record.seq == *seq {
            context.store().delete(Table::Feed, &keys::feed(command.feed, *seq))?;
            context.store().delete(Table::Inodes, &keys::inode(record.id))?;
        }
    }
    let upto = context.state().collected(command.feed)?.max(command.upto);
    context.store().put(Table::Meta, &keys::collected(command.feed), &upto.to_be_bytes())?;
    Ok(Answer::default())
}

/// All that a member held has been compared with the index.
pub(super) fn compared(context: &mut Context<'_>, command: &Compared) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?;
    if !std::mem::take(&mut server.compare) {
        return Ok(Answer::default());
    }
    server.set_damage(Damage::None);
    let server = server.clone();
    let pair = context.pair(server.pair)?.clone();
    let reason = match command.set_aside {
        0 => "its disk was compared with the index".to_owned(),
        count => format!(
            "the index does not know them (removed meanwhile, or never of this cluster): {}",
            names(command.names.iter().map(String::as_str), count)
        ),
    };
    let numbers = [("set_aside", command.set_aside)];
    context.event(pair_event("compared", &command.server, &pair, reason, &numbers))?;
    Ok(Answer::default())
}
