//! `--on-event`: runs an operator's command for each event.
//!
//! One at a time and in order, each for at most [`TIME`]; then it is killed with all that it started. So a command that
//! hangs or fails delays those that come after it, and nothing else: nobody waits for it. How far it has come is kept in a
//! file: after a restart it goes on there, and what was under way then is run once more.

use crate::manager::Manager;
use nm_core::state::State;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;
use types::limits::EVENTS_KEPT;
use types::record::Event;
use types::{Code, Error, Result};

/// How long the command may take for one event.
const TIME: Duration = Duration::from_secs(10);
/// Events that wait for it; of more the oldest are passed over.
const WAITING: usize = 256;
/// Events are looked for so long after something has changed: many changes are no events.
const PAUSE: Duration = Duration::from_millis(100);
/// File in the data folder with the number of the last event that the command has seen.
const FILE: &str = "on-event";

/// An event for programs.
pub fn event_json(event: &Event) -> Value {
    let text = |text: &str| if text.is_empty() { Value::Null } else { text.into() };
    let mut value = json!({
        "seq": event.seq,
        "time": time(event),
        "kind": event.kind,
        "server": text(&event.server),
        "pair": text(&event.pair),
        "epoch": (event.epoch != 0).then_some(event.epoch),
        "reason": text(&event.reason),
    });
    for number in &event.numbers {
        // What an event is about is not overwritten by a number of the same name.
        if value.get(&number.name).is_none() {
            value[&number.name] = number.value.into();
        }
    }
    value
}

/// When it happened: RFC 3339 in UTC, always to the millisecond, so that times sort as texts.
fn time(event: &Event) -> Option<String> {
    let millis = i64::try_from(event.time_ms).ok()?;
    jiff::Timestamp::from_millisecond(millis).ok().map(|time| format!("{time:.3}"))
}

/// Runs `command` for each event until its task is ended.
pub(crate) async fn follow(manager: Arc<Manager>, command: String, data: PathBuf) {
    let mut after = match beginning(&manager, &data) {
        Ok(after) => after,
        Err(error) => return tracing::error!(%error, "no command is run for events"),
    };
    let mut applied = manager.raft.watch_applied();
    loop {
        applied.mark_unchanged();
        match waiting(&manager, after) {
            Ok(events) if !events.is_empty() => {
                for event in events {
                    run(&command, &event).await;
                    after = event.seq;
                    note(&data, after);
                }
            }
            Ok(_) if applied.changed().await.is_err() => return,
            Ok(_) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "the events cannot be read");
                tokio::time::sleep(TIME).await;
            }
        }
    }
}

/// The event after which to go on: the one of the file; without one the last there is.
fn beginning(manager: &Manager, data: &Path) -> Result<u64> {
    let view = manager.view()?;
    let events = State::new(&view).events_after(0, EVENTS_KEPT as usize)?;
    let last = events.last().map_or(0, |event| event.seq);
    let noted = std::fs::read_to_string(data.join(FILE)).ok().and_then(|text| text.trim().parse().ok());
    Ok(noted.map_or(last, |noted: u64| noted.min(last)))
}

/// The events behind `after`, the newest [`WAITING`] of them.
fn waiting(manager: &Manager, after: u64) -> Result<Vec<Event>> {
    let view = manager.view()?;
    let mut events = State::new(&view).events_after(after, EVENTS_KEPT as usize)?;
    let surplus = events.len().saturating_sub(WAITING);
    if surplus > 0 {
        tracing::warn!(surplus, "events are passed over: the command for events is too slow");
        events.drain(..surplus);
    }
    Ok(events)
}

/// Best effort: without it an event is told twice.
fn note(data: &Path, seq: u64) {
    let (file, beside) = (data.join(FILE), data.join("on-event.new"));
    let written = std::fs::write(&beside, format!("{seq}\n")).and_then(|()| std::fs::rename(&beside, &file));
    if let Err(error) = written {
        tracing::warn!(%error, "how far the command for events has come is not kept");
    }
}

async fn run(command: &str, event: &Event) {
    let ended = match timeout(TIME, execute(command, event)).await {
        Ok(ended) => ended,
        Err(_) => Err(failed(format_args!("it did not end within {} s", TIME.as_secs()))),
    };
    if let Err(error) = ended {
        tracing::warn!(event = event.seq, kind = event.kind, error = error.message, "the command for events");
    }
}

fn failed(what: impl Display) -> Error {
    Error::new(Code::Failed, what, "see to the command of --on-event")
}

/// Its process and all that it started, in a group of their own: they end with this.
struct Group(Child, Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.1 {
            // There may be nobody left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn execute(command: &str, event: &Event) -> Result<()> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command).process_group(0).kill_on_drop(true).env_remove("PAIRFS_PARENT");
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let fields = [
        ("SEQ", event.seq.to_string()),
        ("TIME", time(event).unwrap_or_default()),
        ("KIND", event.kind.clone()),
        ("SERVER", event.server.clone()),
        ("PAIR", event.pair.clone()),
        ("EPOCH", event.epoch.to_string()),
        ("REASON", event.reason.clone()),
    ];
    shell.envs(fields.map(|(name, value)| (format!("PAIRFS_EVENT_{name}"), value.replace('\0', ""))));
    let child = shell.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut running = Group(child, group);
    if let Some(mut input) = running.0.stdin.take() {
        // It need not read what it is told.
        let _ = input.write_all(format!("{}\n", event_json(event)).as_bytes()).await;
    }
    let status = running.0.wait().await?;
    match status.success() {
        true => Ok(()),
        false => Err(failed(format_args!("it ended with {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::record::Number;

    #[test]
    fn numbers_stand_beside_the_other_fields() {
        let number = |name: &str, value| Number { name: name.into(), value };
        let event = Event {
            seq: 7,
            time_ms: 1_700_000_000_000,
            kind: "caught-up".into(),
            server: "ss1".into(),
            numbers: vec![number("rows_missed", 4), number("kind", 9)],
            ..Event::default()
        };
        let value = event_json(&event);
        assert_eq!(value["rows_missed"], 4);
        assert_eq!(value["kind"], "caught-up");
        assert_eq!(value["time"], "2023-11-14T22:13:20.000Z");
        assert_eq!(value["pair"], Value::Null);
        assert_eq!(value["epoch"], Value::Null);
    }
}
