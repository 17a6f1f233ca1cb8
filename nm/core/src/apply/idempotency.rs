//! A request is executed once however often it is asked (R13).

use super::context::{Context, Stop, refuse};
use crate::keys::{self, ClientEntry};
use crate::state::decode;
use crate::store::{Store, Table};
use prost::Message;
use types::Code;
use types::command::{Answer, Asker};
use types::ids::ClientId;
use types::limits::{CLIENT_IDLE, CLIENTS_KEPT, RESULTS_PER_CLIENT};
use types::mutation::{self, Mutation};
use types::record::Version;

/// A client's `heard` time is renewed when it is older than this, ms: once a minute, not at each request.
const HEARD_STEP_MS: u64 = 60_000;

/// What is kept of an answer: enough to give it again.
#[derive(Clone, PartialEq, Message)]
struct StoredResult {
    /// SHA-256 of what was asked.
    #[prost(bytes = "vec", tag = "1")]
    ask: Vec<u8>,
    /// The file or folder it was about.
    #[prost(uint64, tag = "2")]
    inode: u64,
    /// The version it made.
    #[prost(message, optional, tag = "3")]
    version: Option<Version>,
}

/// The answer that was given to this request before, if it was; else notes the client. Refuses a key that
/// is out of bounds, too old to be known, or was used for something else.
pub(super) fn before(context: &mut Context<'_>, asker: &Asker) -> Result<Option<Answer>, Stop> {
    let key = asker.key();
    if key.number >= key.lowest.saturating_add(RESULTS_PER_CLIENT) || key.number < key.lowest {
        return refuse(
            Code::BadRequest,
            format_args!("request {key} is {RESULTS_PER_CLIENT} or more ahead of the lowest unanswered one"),
            "wait for answers before asking on",
        );
    }
    let known = context.store().get(Table::Results, &keys::result(key.client, key.number))?;
    if let Some(bytes) = known.filter(|_| !mutation::is(Mutation::SkipIdempotency)) {
        let stored: StoredResult = decode(&bytes)?;
        if stored.ask != asker.ask {
            return refuse(
                Code::KeyReused,
                format_args!("request key {key} was used for another request"),
                "use a new key",
            );
        }
        let record = context.state().inode(stored.inode)?;
        return Ok(Some(Answer { record, version: stored.version, repeated: true, ..Answer::default() }));
    }
    note_client(context, asker)?;
    Ok(None)
}

fn client_entry(context: &mut Context<'_>, client: ClientId) -> Result<Option<ClientEntry>, Stop> {
    let bytes = context.store().get(Table::Clients, &client.to_bytes())?;
    Ok(bytes.map(|bytes| decode(&bytes)).transpose()?)
}

fn note_client(context: &mut Context<'_>, asker: &Asker) -> Result<(), Stop> {
    let key = asker.key();
    let now = context.now_ms();
    let known = client_entry(context, key.client)?;
    if known.is_none() {
        if key.client.issued <= context.counters().client_floor {
            return refuse(
                Code::KeyReused,
                format_args!("the client of request {key} has been forgotten"),
                "look whether the request was done, then ask with a new key",
            );
        }
        make_room(context)?;
        context.counters().clients += 1;
    }
    let before = known.clone().unwrap_or_default();
    if key.number < before.lowest {
        return refuse(
            Code::KeyReused,
            format_args!("request {key} was answered and forgotten"),
            "use a new key",
        );
    }
    let lowest = before.lowest.max(key.lowest);
    forget_results(context, key.client, before.lowest, lowest)?;
    let renew = known.is_none() || now >= before.heard_ms.saturating_add(HEARD_STEP_MS);
    if !renew && lowest == before.lowest {
        return Ok(());
    }
    let heard_ms = if renew { now } else { before.heard_ms };
    if renew {
        if known.is_some() {
            context
                .store()
                .delete(Table::ClientsByTime, &keys::client_by_time(before.heard_ms, key.client))?;
        }
        context.store().put(Table::ClientsByTime, &keys::client_by_time(heard_ms, key.client), &[])?;
    }
    let entry = ClientEntry { lowest, heard_ms };
    context.store().put(Table::Clients, &key.client.to_bytes(), &entry.encode_to_vec())?;
    Ok(())
}

fn forget_results(context: &mut Context<'_>, client: ClientId, from: u64, to: u64) -> Result<(), Stop> {
    let mut gone = Vec::new();
    context.store().scan(
        Table::Results,
        &keys::result(client, from),
        &keys::result(client, to),
        &mut |key, _| {
            gone.push(key.to_vec());
            true
        },
    )?;
    for key in gone {
        context.store().delete(Table::Results, &key)?;
    }
    Ok(())
}

/// Drops the client that was silent longest if the bound is reached; refuses if even that one was heard
/// within the hour.
fn make_room(context: &mut Context<'_>) -> Result<(), Stop> {
    if context.counters().clients < CLIENTS_KEPT {
        return Ok(());
    }
    let now = context.now_ms();
    let mut oldest = None;
    context.store().scan(Table::ClientsByTime, &[], &[], &mut |key, _| {
        oldest = Some(key.to_vec());
        false
    })?;
    let fields = oldest.as_ref().and_then(|key| {
        let part = |range: std::ops::Range<usize>| key.get(range)?.try_into().ok().map(u64::from_be_bytes);
        Some((part(0..8)?, ClientId { issued: part(8..16)?, random: part(16..24)? }))
    });
    let (Some(key), Some((heard, client))) = (oldest, fields) else { return Ok(()) };
    if now < heard.saturating_add(CLIENT_IDLE.as_millis() as u64) {
        return refuse(Code::Busy, format_args!("{CLIENTS_KEPT} clients are active"), "try again later");
    }
    forget_results(context, client, 0, u64::MAX)?;
    context.store().delete(Table::Clients, &client.to_bytes())?;
    context.store().delete(Table::ClientsByTime, &key)?;
    let counters = context.counters();
    counters.clients -= 1;
    counters.client_floor = counters.client_floor.max(client.issued);
    Ok(())
}

/// Remembers that the request was done.
pub(super) fn after(context: &mut Context<'_>, asker: &Asker, answer: &Answer) -> Result<(), Stop> {
    let key = asker.key();
    let stored = StoredResult {
        ask: asker.ask.clone(),
        inode: answer.record.as_ref().map_or(0, |record| record.id),
        version: answer.version.clone(),
    };
    context.store().put(Table::Results, &keys::result(key.client, key.number), &stored.encode_to_vec())?;
    Ok(())
}

/// Which version a request made, if it was done and is not forgotten (R10).
pub(crate) fn outcome(
    store: &dyn Store,
    asker: &Asker,
) -> Result<Option<(u64, Version)>, crate::store::StoreError> {
    let key = asker.key();
    let Some(bytes) = store.get(Table::Results, &keys::result(key.client, key.number))? else {
        return Ok(None);
    };
    let stored: StoredResult = decode(&bytes)?;
    Ok(stored.version.map(|version| (stored.inode, version)))
}
