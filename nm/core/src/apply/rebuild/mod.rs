//! A cluster made anew from what its storage servers hold (R26).
//!
//! Begin notes what the new generation is. Pages of rows are merged by inode, in whatever order they come. Settle then
//! goes once through all inodes and derives everything else from them: names, feeds, trash, counts. Records keep their
//! numbers, so a member that holds them finds nothing new in its feed; what has to change gets a number above all that
//! was seen. Then come the writes without a known outcome, and Finish makes the cluster.

mod finish;
mod settle;
mod writes;

use super::context::{Context, Stop, refuse};
use crate::keys::{self, RebuildEntry, RowSubject, UserEntry};
use crate::merge;
use crate::state::decode;
use crate::store::Table;
use prost::Message;
use types::command::Answer;
use types::ids::InodeId;
use types::limits::NUMBER_MAX;
use types::rebuild::{Rebuild, StandReport, Step, TakeIn};
use types::record::{Event, Pair, Record, Row, Subject, User};
use types::{Code, Error};

/// Does a step. Settle and Finish do a slice of it; the answer says whether there is more.
pub(super) fn step(context: &mut Context<'_>, command: &Rebuild) -> Result<Answer, Stop> {
    match command.step() {
        Step::Begin => begin(context, command),
        Step::Settle => settle::settle(context),
        Step::Finish => finish::finish(context),
        Step::Unknown => refuse(Code::BadRequest, "an unknown step of a rebuild", "update this name manager"),
    }
}

fn begin(context: &mut Context<'_>, command: &Rebuild) -> Result<Answer, Stop> {
    let used =
        context.state().cluster()?.is_some() || context.store().get(Table::Meta, keys::REBUILD)?.is_some();
    if used {
        return refuse(
            Code::Exists,
            "there is a cluster here already",
            "rebuild into an empty data directory",
        );
    }
    let sound = command.cluster.as_ref().is_some_and(|cluster| {
        cluster.cluster_id.len() == 16
            && cluster.master_key.len() == 32
            && cluster.key.len() == 32
            && command.members.iter().all(|member| member.generation < cluster.generation)
            && command.members.iter().all(|member| member.incarnation <= NUMBER_MAX)
    });
    if !sound || command.members.is_empty() {
        return refuse(
            Code::BadRequest,
            "a rebuild without members or keys",
            "start it again with --rebuild",
        );
    }
    let entry = RebuildEntry {
        cluster: command.cluster.clone(),
        members: command.members.clone(),
        ..RebuildEntry::default()
    };
    store(context, &entry)?;
    let most = command.members.iter().map(|member| member.forgotten_control).max().unwrap_or(0);
    raise_collected(context, 0, most)?;
    let counters = context.counters();
    counters.first_event = 1;
    counters.last_incarnation = command.members.iter().map(|member| member.incarnation).max().unwrap_or(0);
    let reason = "begins to take in what the storage servers hold";
    context.event(Event { kind: "rebuilding".into(), reason: reason.into(), ..Event::default() })?;
    Ok(Answer::default())
}

/// The rebuild that is under way.
fn current(context: &mut Context<'_>) -> Result<RebuildEntry, Stop> {
    match context.store().get(Table::Meta, keys::REBUILD)? {
        Some(bytes) => Ok(decode(&bytes)?),
        None => refuse(Code::Changed, "no rebuild is under way", "start the name manager with --rebuild"),
    }
}

fn store(context: &mut Context<'_>, entry: &RebuildEntry) -> Result<(), Stop> {
    Ok(context.store().put(Table::Meta, keys::REBUILD, &entry.encode_to_vec())?)
}

/// Takes in a page of what a member holds. The same page twice, or in another order, makes no difference.
pub(super) fn take_in(context: &mut Context<'_>, command: &TakeIn) -> Result<Answer, Stop> {
    let mut entry = current(context)?;
    let late = entry.settling && !command.rows.is_empty();
    let early = !entry.is_settled && !command.writes.is_empty();
    if late || early {
        return refuse(Code::Changed, "this comes out of turn in a rebuild", "start it again with --rebuild");
    }
    if let Some(row) = command.rows.iter().find(|row| !merge::leaves_room(row)) {
        return refuse(
            Code::Damaged,
            format_args!("{} tells of numbers that no cluster comes to (row {})", command.server, row.seq),
            "leave it out: start the rebuild again without it, with --accept-one-member",
        );
    }
    for row in &command.rows {
        note_floors(context, &mut entry, row);
        match &row.subject {
            Some(Subject::Record(record)) if !is_doubtful(context, &entry, &command.server, record)? => {
                merge_record(context, record)?
            }
            // Not taken in, but a removal is a removal, whoever remembers it.
            Some(Subject::Record(record)) if record.is_tombstone() => {
                settle::note_ended(context, record)?;
                settle::note_removed(context, record)?;
            }
            Some(Subject::Record(_)) => {}
            Some(Subject::Pair(pair)) => merge_pair(context, &entry, pair, row.seq)?,
            Some(Subject::User(user)) => merge_user(context, user, row.seq)?,
            None => {}
        }
    }
    for write in &command.writes {
        entry.writes += u64::from(writes::take_in(context, &mut entry, &command.server, write)?);
    }
    store(context, &entry)?;
    Ok(Answer::default())
}

fn note_floors(context: &mut Context<'_>, entry: &mut RebuildEntry, row: &Row) {
    let floors = merge::floors(row);
    entry.seq = entry.seq.max(floors.seq);
    entry.time_ms = entry.time_ms.max(floors.time_ms);
    if floors.pair != 0 {
        let epoch = entry.epochs.entry(floors.pair).or_default();
        *epoch = floors.epoch.max(*epoch);
    }
    let counters = context.counters();
    counters.last_inode = counters.last_inode.max(floors.inode);
    counters.last_pair = counters.last_pair.max(floors.pair);
}

/// Whether only a member tells of this record that may have slept through its removal: another one has forgotten
/// tombstones up to beyond it, so it would know the record if it were there (I4). If that one tells of it later, it is
/// taken in with a second look at the first.
fn is_doubtful(
    context: &Context<'_>,
    entry: &RebuildEntry,
    server: &str,
    record: &Record,
) -> Result<bool, Stop> {
    let own = entry.members.iter().find(|member| member.server == server);
    let own = own.map_or(0, |member| forgotten(member, record.pair));
    let most = context.state().collected(record.pair)?;
    Ok(record.seq <= most && own < most && context.state().inode(record.id)?.is_none())
}

fn forgotten(member: &StandReport, feed: u32) -> u64 {
    if feed == 0 { member.forgotten_control } else { member.forgotten_pair }
}

fn merge_record(context: &mut Context<'_>, record: &Record) -> Result<(), Stop> {
    if record.id == 0 || record.id == InodeId::TRASH.0 {
        return Ok(());
    }
    let known = context.state().inode(record.id)?;
    let merged = match known {
        Some(known) => merge::record(known, record.clone()),
        None => record.clone(),
    };
    Ok(context.store().put(Table::Inodes, &keys::inode(merged.id), &merged.encode_to_vec())?)
}

/// Where the row stood that told what is known of a subject; 0: nothing is.
fn known_seq(context: &mut Context<'_>, place: &[u8]) -> Result<u64, Stop> {
    let known = context.store().get(Table::Meta, place)?;
    Ok(known.and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes))
}

fn merge_pair(context: &mut Context<'_>, entry: &RebuildEntry, pair: &Pair, seq: u64) -> Result<(), Stop> {
    note_collected(context, entry, pair)?;
    if pair.id == 0 || pair.primary.is_empty() {
        return Err(Error::bad_request("a pair without a number or a primary").into());
    }
    let place = keys::row_place(&RowSubject::Pair(pair.id));
    let known_seq = known_seq(context, &place)?;
    // Counted anew from the files.
    let pair = Pair { files: 0, bytes: 0, owed: 0, lost: 0, feed_end: 0, ..pair.clone() };
    let newer = match known_seq {
        0 => true,
        _ => merge::pair_is_newer(&pair, seq, context.pair(pair.id)?, known_seq),
    };
    if newer {
        context.put_pair(pair);
        context.store().put(Table::Meta, &place, &seq.to_be_bytes())?;
    }
    Ok(())
}

/// Up to where tombstones of a pair's feed were collected, as far as its members know (R24): they refuse rows of a
/// name manager that knows less.
fn note_collected(context: &mut Context<'_>, entry: &RebuildEntry, pair: &Pair) -> Result<(), Stop> {
    let members = entry.members.iter().filter(|member| pair.has(&member.server));
    let most = members.map(|member| member.forgotten_pair).max().unwrap_or(0);
    raise_collected(context, pair.id, most)
}

fn raise_collected(context: &mut Context<'_>, feed: u32, upto: u64) -> Result<(), Stop> {
    if upto > context.state().collected(feed)? {
        context.store().put(Table::Meta, &keys::collected(feed), &upto.to_be_bytes())?;
    }
    Ok(())
}

fn merge_user(context: &mut Context<'_>, user: &User, seq: u64) -> Result<(), Stop> {
    let place = keys::row_place(&RowSubject::User(user.name.clone()));
    let known_seq = known_seq(context, &place)?;
    let known = context.state().user(&user.name)?.and_then(|known| known.public);
    if known.is_none_or(|known| merge::user_is_newer(user, seq, &known, known_seq)) {
        // Keys are not rebuilt: nobody but the old name manager had them.
        let entry = UserEntry { public: Some(user.clone()), keys: Vec::new() };
        context.store().put(Table::Users, user.name.as_bytes(), &entry.encode_to_vec())?;
        context.store().put(Table::Meta, &place, &seq.to_be_bytes())?;
    }
    Ok(())
}
