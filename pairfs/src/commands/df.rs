//! `df`: what the files take, and the room that is left.

use super::Context;
use crate::output::{Field, size};
use client::Usage;
use serde_json::{Value, json};
use types::Result;
use types::message::manager::{PairStatus, ServerStatus, StatusReply};

/// One line of the table.
struct Line {
    name: String,
    usage: Usage,
    /// Bytes on the disks of both members.
    physical: u64,
    /// Room left: every write needs it on both. None while neither tells.
    free: Option<u64>,
}

/// Runs `df`.
///
/// # Errors
/// As [`client::Client::status`] and [`client::Client::usage`].
pub async fn df(context: &Context) -> Result<()> {
    let client = context.connect().await?;
    let status = client.status().await?;
    let mut lines = Vec::new();
    for pair in &status.pairs {
        let usage = client.usage(pair.id).await?;
        let members = || members(&status, pair);
        lines.push(Line {
            name: pair.name.clone(),
            usage,
            physical: members().map(|server| server.used_bytes).sum(),
            free: members().map(|server| server.free_bytes).min(),
        });
    }
    if context.out.json {
        let pairs: Vec<Value> = lines.iter().map(to_json).collect();
        let all = total(&lines);
        let mut value = to_json(&all);
        if let Some(value) = value.as_object_mut() {
            value.remove("pair");
            value.remove("free_bytes");
            value.insert("pairs".to_owned(), pairs.into());
        }
        return context.out.object(&value);
    }
    if lines.len() > 1 {
        lines.push(total(&lines));
    }
    let rows = lines.iter().map(|line| {
        let Usage { files, logical, history, trash, shared } = line.usage;
        let mut row = vec![Field::from(&line.name), Field::from(files.to_string())];
        row.extend([logical, history, trash, shared, line.physical].map(|bytes| Field::from(size(bytes))));
        row.push(Field::from(line.free.map_or("-".to_owned(), size)));
        row
    });
    let heads = ["PAIR", ">FILES", ">LOGICAL", ">HISTORY", ">TRASH", ">SHARED", ">PHYSICAL", ">FREE"];
    context.out.table(&heads, rows.collect())
}

/// The members of a pair that have told of their disks.
fn members<'a>(status: &'a StatusReply, pair: &'a PairStatus) -> impl Iterator<Item = &'a ServerStatus> {
    let of_pair = |server: &&ServerStatus| server.name == pair.primary || server.name == pair.backup;
    // Heartbeats begin before the store is open: then both numbers are nil.
    status.servers.iter().filter(of_pair).filter(|server| server.used_bytes + server.free_bytes > 0)
}

fn total(lines: &[Line]) -> Line {
    let sum = |of: fn(&Line) -> u64| lines.iter().map(of).sum();
    let usage = Usage {
        files: sum(|line| line.usage.files),
        logical: sum(|line| line.usage.logical),
        history: sum(|line| line.usage.history),
        trash: sum(|line| line.usage.trash),
        shared: sum(|line| line.usage.shared),
    };
    // Pairs may lie on one disk: their room does not add up.
    Line { name: "total".to_owned(), usage, physical: sum(|line| line.physical), free: None }
}

fn to_json(line: &Line) -> Value {
    json!({
        "pair": line.name,
        "files": line.usage.files,
        "logical_bytes": line.usage.logical,
        "history_bytes": line.usage.history,
        "trash_bytes": line.usage.trash,
        "shared_bytes": line.usage.shared,
        "physical_bytes": line.physical,
        "free_bytes": line.free,
    })
}
