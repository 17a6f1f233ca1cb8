//! The state machine: what each command does, decided from the state and the command alone.
//!
//! One file for each family of commands. A command that is refused changes nothing: every operation
//! checks first and writes then.

mod adopt;
mod cluster;
mod collect;
mod context;
mod damage;
mod durability;
mod entries;
mod idempotency;
mod import;
mod purge;
mod rebuild;
mod reign;
mod server;
#[cfg(test)]
mod tests;
mod write;

use crate::store::{StoreError, StoreMut};
use context::{Context, Stop};
pub(crate) use idempotency::outcome as idempotency_outcome;
use types::command::{Answer, Answers, BATCH_FORMAT, Batch, Op};
use types::limits::NAMES_TOLD;
use types::{Code, Error};

/// Applies log entry `index` to `store`; answers each command in order.
///
/// Fails only if the store does or if the entry's format is of a later version: then the name manager
/// must stop, because going on would make replicas differ.
pub fn apply(store: &mut dyn StoreMut, index: u64, batch: &Batch) -> Result<Answers, StoreError> {
    if batch.format != BATCH_FORMAT {
        return Err(StoreError::Format(format!(
            "log entry {index} has format {}, this program reads {BATCH_FORMAT}: start the version that wrote it",
            batch.format
        )));
    }
    let mut context = Context::begin(store, index, batch.time_ms)?;
    let mut answers = Vec::with_capacity(batch.commands.len());
    for command in &batch.commands {
        context.next_command();
        answers.push(match run(&mut context, command.op.as_ref()) {
            Ok(answer) => answer,
            Err(Stop::Refused(error)) => Answer::refused(error),
            Err(Stop::Store(error)) => return Err(error),
        });
    }
    context.end()?;
    Ok(Answers { answers })
}

/// A list of `count` names for an event, of which some are given.
fn names<'n>(given: impl Iterator<Item = &'n str>, count: u64) -> String {
    let given: Vec<String> = given.take(NAMES_TOLD).map(|name| format!("'{name}'")).collect();
    let more = count.saturating_sub(given.len() as u64);
    let list = given.join(", ");
    if more == 0 { list } else { format!("{list} and {more} more") }
}

fn run(context: &mut Context<'_>, op: Option<&Op>) -> Result<Answer, Stop> {
    match op {
        Some(Op::Bootstrap(command)) => cluster::bootstrap(context, command),
        Some(Op::Prefer(command)) => cluster::prefer(context, command),
        Some(Op::Note(event)) => cluster::note(context, event),
        Some(Op::Register(command)) => server::register(context, command),
        Some(Op::Recovered(command)) => server::recovered(context, command),
        Some(Op::Fail(command)) => server::fail(context, command),
        Some(Op::CaughtUp(command)) => server::caught_up(context, command),
        Some(Op::Acknowledge(command)) => server::acknowledge(context, command),
        Some(Op::Promote(command)) => reign::promote(context, command),
        Some(Op::Handover(command)) => reign::handover(context, command),
        Some(Op::Restore(command)) => reign::restore(context, command),
        Some(Op::AbortHandover(command)) => reign::abort_handover(context, command),
        Some(Op::Owe(command)) => adopt::owe(context, command),
        Some(Op::Adopt(command)) => adopt::adopt(context, command),
        Some(Op::Purge(command)) => purge::purge(context, command),
        Some(Op::Rebuild(command)) => rebuild::step(context, command),
        Some(Op::TakeIn(command)) => rebuild::take_in(context, command),
        Some(Op::Lose(command)) => adopt::lose(context, command),
        Some(Op::Collect(command)) => collect::collect(context, command),
        Some(Op::Compared(command)) => collect::compared(context, command),
        Some(Op::WriteComplete(command)) => write::write_complete(context, command),
        Some(Op::OpenUpload(command)) => write::open_upload(context, command),
        Some(Op::Make(command)) => entries::make(context, command),
        Some(Op::Remove(command)) => entries::remove(context, command),
        Some(Op::Move(command)) => entries::rename(context, command),
        Some(Op::SetDurability(command)) => durability::set(context, command),
        Some(Op::Import(command)) => import::import(context, command),
        Some(Op::EndImport(command)) => import::end_import(context, command),
        None => Err(Error::new(
            Code::Unsupported,
            "the log holds a command of a later version",
            "update this name manager",
        )
        .into()),
    }
}
