//! Storage servers: registration, failure, progress (R6–R8, R21).

use super::context::{Context, Stop, pair_event, refuse};
use super::damage::damaged;
use types::Code;
use types::command::{Acknowledge, Answer, CaughtUp, Fail, Recovered, Register};
use types::limits::{FAILURES_KEPT, FRESH_BYTES, FRESH_ROWS};
use types::mutation::{self, Mutation};
use types::record::{Damage, Event, ImportProgress, Number, Pair, Phase, Server};

fn answer(context: &mut Context<'_>, server: &str) -> Result<Answer, Stop> {
    let server = context.server(server)?.clone();
    let pair = context.pair(server.pair)?.clone();
    Ok(Answer { server: Some(server), pair: Some(pair), rows: context.rows(), ..Answer::default() })
}

/// Whether a registering disk is the one that is known.
enum Disk {
    Known,
    /// A replay of the registration that is in the log already (R7).
    Replayed,
    Unknown,
}

fn judge_disk(server: &Server, command: &Register) -> Disk {
    // First, as a server's very first registration comes without a token: its next one is random, so
    // nobody else can say it.
    if command.token == server.previous_token && command.next_token == server.token {
        return Disk::Replayed;
    }
    // A member that was away at a rebuild is known by name only: the first disk with a past is its own (R26).
    let unheard = server.token.is_empty();
    if !command.token.is_empty() && (command.token == server.token || unheard) {
        return Disk::Known;
    }
    Disk::Unknown
}

/// A start of a storage server: fences the start before.
pub(super) fn register(context: &mut Context<'_>, command: &Register) -> Result<Answer, Stop> {
    check_name(&command.server)?;
    if command.next_token.is_empty() || command.addr.is_empty() {
        return refuse(
            Code::BadRequest,
            "a registration needs a token and an address",
            "update the storage server",
        );
    }
    let cluster = context.state().cluster()?;
    let last = context.counters().last_incarnation;
    if cluster.is_some_and(|cluster| cluster.generation == command.generation) && command.incarnation > last {
        return old_log(format_args!(
            "the name manager's data is older than what {} was told by it (registration {}, it knows of {last})",
            command.server, command.incarnation
        ));
    }
    let primary = if command.backup_of.is_empty() { &command.server } else { &command.backup_of };
    let known = context.server_if_known(&command.server)?.cloned();
    let mut server = match known {
        Some(server) => returning(context, server, command, primary)?,
        None => newcomer(context, command, primary)?,
    };
    if server.incarnation == 0 || !mutation::is(Mutation::KeepIncarnation) {
        context.counters().last_incarnation += 1;
        server.incarnation = context.counters().last_incarnation;
    }
    server.token = command.next_token.clone();
    server.previous_token = command.token.clone();
    server.may_replace = command.replace_disk;
    server.addr = command.addr.clone();
    server.ip = command.ip.clone();
    server.boot = command.boot.clone();
    server.failed = false;
    server.failed_ms = 0;
    server.recovered = false;
    server.set_damage(Damage::None);
    server.registered_ms = context.now_ms();
    let pair = context.pair(server.pair)?;
    let (id, pair_name, epoch) = (pair.id, pair.name.clone(), pair.epoch);
    context.event(Event {
        kind: "registered".into(),
        server: server.name.clone(),
        pair: pair_name,
        epoch,
        reason: format!("at {}", server.addr),
        numbers: vec![Number { name: "incarnation".into(), value: server.incarnation }],
        ..Event::default()
    })?;
    context.put_server(server);
    context.announce_pair(id)?;
    answer(context, &command.server)
}

/// The log has lost decisions that servers know of: an old image of its disk, or a tail that went bad. Nobody may follow
/// it, and above all nothing may be replaced because of what it believes.
fn old_log<T>(what: std::fmt::Arguments<'_>) -> Result<T, Stop> {
    refuse(
        Code::Damaged,
        what,
        "stop the name manager and bring its newest data back, or start it with --rebuild",
    )
}

fn check_name(name: &str) -> Result<(), Stop> {
    let ok = !name.is_empty()
        && name.len() <= 64
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if ok {
        return Ok(());
    }
    refuse(
        Code::Usage,
        "a server's name may hold letters, digits, '_', '-' and '.', at most 64",
        "choose another --name",
    )
}

fn returning(
    context: &mut Context<'_>,
    mut server: Server,
    command: &Register,
    primary: &str,
) -> Result<Server, Stop> {
    let name = server.name.clone();
    if command.elsewhere {
        return refuse(
            Code::Locked,
            format_args!("another server named {name} is alive at {}", server.addr),
            "give this one another name, or stop that one first",
        );
    }
    let pair = context.pair(server.pair)?.clone();
    if pair.primary != primary {
        return refuse(
            Code::Usage,
            format_args!("{name} belongs to the pair {}", pair.name),
            "give the same --name and --backup-of as before",
        );
    }
    if command.import && server.import.is_none() {
        return refuse(
            Code::Exists,
            format_args!("{name} is no new server: it has registered before, and no import is unfinished"),
            "start it without --import, or give the folder to a new server; `pairfs put -r` takes folders in at any time",
        );
    }
    match judge_disk(&server, command) {
        Disk::Known | Disk::Replayed => {}
        Disk::Unknown => {
            server.disk_lost |= accept_unknown_disk(context, &server, &pair, command)?;
            server.control_cursor = 0;
            server.pair_cursor = 0;
            server.journal = 0;
            server.fresh = false;
            server.compare = true;
        }
    }
    Ok(server)
}

/// An unknown disk under a known name: by itself only if nothing can be lost by it (R7). Gives whether
/// something is lost with the known one.
fn accept_unknown_disk(
    context: &mut Context<'_>,
    server: &Server,
    pair: &Pair,
    command: &Register,
) -> Result<bool, Stop> {
    let name = &server.name;
    if pair.acting == *name {
        // Its content is not here. Somebody else must act, or an operator must accept the loss; no flag of its own helps.
        return refuse(
            Code::Denied,
            format_args!(
                "{name} acted last in {}, and this data directory is not the one it did so on",
                pair.name
            ),
            "bring that disk back, or let its partner act: `pairfs pair promote` with --accept-loss",
        );
    }
    let partner = pair.partner_of(name).to_owned();
    let covered = pair.acting == partner
        && context.server_if_known(&partner)?.is_some_and(|partner| partner.fresh && !partner.failed);
    let owed = !context.state().owed_of(pair.id, name, 1)?.is_empty();
    if !command.replace_disk && (!covered || owed) {
        let why = match owed {
            true => "acknowledged versions are only on that one",
            false => "its partner cannot stand in for it",
        };
        return refuse(
            Code::Denied,
            format_args!("this data directory is not the one that {name} had, and {why}"),
            "start it on its own data directory, or with --replace-disk if that one is gone",
        );
    }
    Ok(owed)
}

fn newcomer(context: &mut Context<'_>, command: &Register, primary: &str) -> Result<Server, Stop> {
    let is_primary = command.server == primary;
    if command.import && !is_primary {
        return refuse(
            Code::Usage,
            format_args!("{} is a backup: it gets its files from {primary}", command.server),
            "give --import to the primary",
        );
    }
    let id = match context.pair_of_primary(primary)? {
        Some(id) => id,
        None => {
            context.counters().last_pair += 1;
            let id = context.counters().last_pair;
            context.put_pair(Pair {
                id,
                name: primary.to_owned(),
                primary: primary.to_owned(),
                preferred: primary.to_owned(),
                ..Pair::default()
            });
            id
        }
    };
    let pair = context.pair(id)?;
    if is_primary {
        if pair.acting.is_empty() {
            pair.acting = command.server.clone();
            pair.epoch = 1;
        }
    } else if pair.backup.is_empty() {
        pair.backup = command.server.clone();
    } else {
        let (name, backup) = (pair.name.clone(), pair.backup.clone());
        return refuse(
            Code::Exists,
            format_args!("{name} has a backup already: {backup}"),
            "give this server a pair of its own",
        );
    }
    let fresh = is_primary && pair.acting == command.server;
    let import = command.import.then(ImportProgress::default);
    Ok(Server { name: command.server.clone(), pair: id, fresh, import, ..Server::default() })
}

/// A registered server has recovered its store: decides where it stands (R7, R8).
pub(super) fn recovered(context: &mut Context<'_>, command: &Recovered) -> Result<Answer, Stop> {
    if command.damaged {
        return damaged(context, command);
    }
    let cluster = context.state().cluster()?;
    let same_feeds = cluster.is_some_and(|cluster| cluster.generation == command.generation);
    let server = context.require_incarnation(&command.server, command.incarnation)?.clone();
    if server.recovered {
        // Its answer was lost. What it said then is older than what it has written since, and no sign of an old disk.
        return answer(context, &command.server);
    }
    let pair = context.pair(server.pair)?.clone();
    let acting = pair.acting == server.name;
    let old_image = command.journal < server.journal && !mutation::is(Mutation::TrustOldImage);
    if old_image && acting {
        return refuse(
            Code::Damaged,
            format_args!(
                "the data directory of {} is older than what this server had acknowledged",
                server.name
            ),
            "bring its newest disk back, or `pairfs pair promote` its partner with --accept-loss",
        );
    }
    let owes = old_image && !context.state().owed_of(pair.id, &server.name, 1)?.is_empty();
    if owes && !server.may_replace {
        return refuse(
            Code::Denied,
            format_args!(
                "the data directory of {} is an old image, and acknowledged versions are only on the newest",
                server.name
            ),
            "bring its newest disk back, or start it with --replace-disk if that one is gone",
        );
    }
    let trusted = same_feeds && !old_image;
    let control_end = context.feed_end(0)?;
    if same_feeds && (command.control_cursor > control_end || command.pair_cursor > pair.feed_end) {
        // Rows are numbered once: what is decided next would bear numbers that this server has applied already.
        return old_log(format_args!(
            "the name manager's data is older than what {} has applied (rows {} and {}, it knows {} and {})",
            server.name, command.control_cursor, command.pair_cursor, control_end, pair.feed_end
        ));
    }
    // What it acknowledged is durable there, also where its own note of it is older. While it is being compared only
    // what it has acknowledged since counts.
    let compare = server.compare;
    let reach = |told: u64, logged: u64, end: u64| match (trusted, compare) {
        (true, false) => told.max(logged).min(end),
        (true, true) => logged.min(end),
        (false, _) => 0,
    };
    let control_cursor = reach(command.control_cursor, server.control_cursor, control_end);
    let pair_cursor = reach(command.pair_cursor, server.pair_cursor, pair.feed_end);
    let (rows_missed, _) = context.state().feed_count(pair.id, pair_cursor)?;
    let behind = pair_cursor < pair.feed_end || context.state().feed_has(0, control_cursor, control_end)?;
    // It may lack the word of what was removed: that word has been collected (R24).
    let missed_word = !mutation::is(Mutation::ForgetTombstone)
        && (control_cursor < context.state().collected(0)?
            || pair_cursor < context.state().collected(pair.id)?);
    let known = context.server(&command.server)?;
    known.recovered = true;
    let holed = known.damage() == Damage::GoesOn;
    // An empty disk has nothing to compare.
    known.compare = command.generation != 0 && (compare || !trusted || missed_word);
    let compare = known.compare;
    known.disk_lost |= owes;
    known.control_cursor = control_cursor;
    known.pair_cursor = pair_cursor;
    known.journal = if old_image { command.journal } else { known.journal.max(command.journal) };
    known.control_mark = control_end;
    known.pair_mark = pair.feed_end;
    known.rows_missed = rows_missed;
    // The last acting member lacks rows, not bytes; anyone else is stale until it has caught up.
    known.fresh = acting || (known.fresh && !behind);
    if !acting && !known.fresh {
        let reason = match (old_image, compare) {
            _ if holed => "a part of its journal was lost: everything is compared",
            (true, _) => "an old image of its disk: everything is compared",
            (false, true) => "its disk is not as it was known: everything is compared",
            (false, false) => "rows beyond its cursor",
        };
        context.event(pair_event(
            "recovering",
            &command.server,
            &pair,
            reason,
            &[("rows_missed", rows_missed)],
        ))?;
    }
    answer(context, &command.server)
}

/// Declares a server failed.
pub(super) fn fail(context: &mut Context<'_>, command: &Fail) -> Result<Answer, Stop> {
    let now = context.now_ms();
    let server = context.require_incarnation(&command.server, command.incarnation)?;
    server.failed = true;
    server.failed_ms = now;
    if !command.stopped {
        let surplus = (server.failures_ms.len() + 1).saturating_sub(FAILURES_KEPT);
        server.failures_ms.drain(..surplus);
        server.failures_ms.push(now);
    }
    if server.recovered {
        server.control_cursor = server.control_cursor.max(command.control_cursor);
        server.pair_cursor = server.pair_cursor.max(command.pair_cursor);
        server.journal = server.journal.max(command.journal);
    }
    let id = server.pair;
    let pair = context.pair(id)?;
    if pair.phase() == Phase::Handover {
        // Whoever failed, nothing is handed over now; the acting member may go on, or be replaced.
        pair.phase = Phase::Steady as i32;
        pair.handover_to.clear();
    }
    let pair = pair.clone();
    if pair.acting != command.server {
        context.server(&command.server)?.fresh = false;
    }
    context.event(pair_event("failed", &command.server, &pair, command.reason.clone(), &[]))?;
    answer(context, &command.server)
}

/// A server has passed the feeds' ends as of its registration: it may be promoted (R8).
pub(super) fn caught_up(context: &mut Context<'_>, command: &CaughtUp) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?.clone();
    let control_end = context.feed_end(0)?;
    let pair_end = context.feed_end(server.pair)?;
    let below = |cursor: u64, mark: u64, feed: u32, context: &Context<'_>| {
        Ok::<bool, Stop>(cursor < mark && context.state().feed_has(feed, cursor, mark)?)
    };
    if !server.recovered
        || below(server.control_cursor, server.control_mark, 0, context)?
        || below(server.pair_cursor, server.pair_mark, server.pair, context)?
    {
        return refuse(Code::Changed, format_args!("{} has not caught up", server.name), "wait for its rows");
    }
    if server.disk_lost {
        return refuse(
            Code::Changed,
            format_args!("what the disk of {} owed is still being marked lost", server.name),
            "wait for that",
        );
    }
    if server.compare {
        return refuse(
            Code::Changed,
            format_args!("what {} holds is still being compared", server.name),
            "wait for that",
        );
    }
    let (since, bytes) = context.state().feed_count(server.pair, server.pair_cursor)?;
    if since > FRESH_ROWS || bytes > FRESH_BYTES {
        let known = context.server(&command.server)?;
        known.control_mark = control_end;
        known.pair_mark = pair_end;
        return refuse(
            Code::Changed,
            format_args!("{since} rows have come since {} registered", server.name),
            "wait for its rows",
        );
    }
    if server.fresh {
        return answer(context, &command.server);
    }
    context.server(&command.server)?.fresh = true;
    let pair = context.pair(server.pair)?;
    if pair.backup == server.name {
        pair.formed = true;
    }
    let pair = pair.clone();
    let numbers = [("rows_missed", server.rows_missed), ("rows_resent", command.rows_resent)];
    context.event(pair_event("caught-up", &command.server, &pair, "follows the feed", &numbers))?;
    answer(context, &command.server)
}

/// Notes how far a server has applied its feeds; never goes back.
pub(super) fn acknowledge(context: &mut Context<'_>, command: &Acknowledge) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?;
    if !server.recovered {
        return refuse(
            Code::Changed,
            format_args!("{} has not reported its store", command.server),
            "it does so by itself",
        );
    }
    server.control_cursor = server.control_cursor.max(command.control_cursor);
    server.pair_cursor = server.pair_cursor.max(command.pair_cursor);
    server.journal = server.journal.max(command.journal);
    Ok(Answer::default())
}
