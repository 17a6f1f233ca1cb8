//! `status`: servers, pairs, who acts, what lags, what is at risk.

use super::{Context, risk};
use crate::output::{Field, Printer, Style, plural, size, span, text, utc};
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;
use types::Result;
use types::message::manager::{PairStatus, StatusReply};
use types::message::member::ScrubState;

/// The pause between two looks of `--watch`.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

/// `pairfs status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Look again every second
    #[arg(short, long)]
    pub watch: bool,
    /// Name the files at risk, and why: one copy, a bad copy, not verified for too long, owed, lost, in conflict
    #[arg(long)]
    pub files: bool,
    /// At most so many of them
    #[arg(long, value_name = "N", default_value_t = 100, requires = "files")]
    pub limit: u32,
}

/// Runs `status`.
///
/// # Errors
/// As [`client::Client::status`].
pub async fn status(context: &Context, args: &StatusArgs) -> Result<()> {
    let client = context.connect().await?;
    loop {
        let status = client.status().await?;
        let files = match args.files {
            true => Some(client.files_at_risk(&status, args.limit as usize).await?),
            false => None,
        };
        if context.out.json {
            let mut value = to_json(&status);
            if let Some(files) = &files {
                value["files_at_risk"] = risk::to_json(files);
                value["more_files_at_risk"] = files.more.into();
            }
            context.out.object(&value)?;
        } else {
            if args.watch && context.out.terminal {
                context.out.bytes(b"\x1b[H\x1b[2J")?;
            }
            print(context.out, &status)?;
            if let Some(files) = &files {
                risk::print(context.out, files)?;
            }
        }
        if !args.watch {
            return Ok(());
        }
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// The fields that scripts rely on, and some more.
fn to_json(status: &StatusReply) -> Value {
    let nms = status.nms.iter().map(|nm| {
        json!({"name": nm.name, "addr": nm.addr, "role": nm.role, "term": nm.term, "applied": nm.applied})
    });
    let servers = status.servers.iter().map(|server| {
        json!({
            "name": server.name,
            "role": server.role,
            "state": server.state,
            "addr": text(&server.addr),
            "last_heartbeat_ms": server.last_heartbeat_ms,
            "used_bytes": server.used_bytes,
            "free_bytes": server.free_bytes,
            "fresh": server.fresh,
            "incarnation": server.incarnation,
            "set_aside": server.set_aside,
            "trouble": text(&server.trouble),
            "oldest_io_ms": server.oldest_io_ms,
            "last_sync_ms": server.last_sync_ms,
            "scrub": server.scrub.as_ref().map(scrub_json),
        })
    });
    let pairs = status.pairs.iter().map(|pair| {
        json!({
            "name": pair.name,
            "primary": pair.primary,
            "backup": text(&pair.backup),
            "acting": text(&pair.acting),
            "preferred": pair.preferred,
            "epoch": pair.epoch,
            "state": pair.state,
            "lag_rows": pair.lag_rows,
            "lag_bytes": pair.lag_bytes,
            "rows_per_second": pair.rows_per_second,
            "bytes_per_second": pair.bytes_per_second,
            "eta_seconds": time_left(pair).map(|left| left.as_millis().div_ceil(1000)),
            "damped_ms": pair.damped_ms,
            "replicated": pair.lag_rows == 0,
            "verified": pair.verified_ms.map(utc),
            "bad_files": pair.bad_files,
            "at_risk_files": pair.at_risk_files,
            "owed_versions": pair.owed_versions,
            "lost_versions": pair.lost_versions,
            "files": pair.files,
            "relaying": pair.relaying,
            "relayed_bytes": pair.relayed_bytes,
        })
    });
    json!({
        "leader": text(&status.leader),
        "rebuilding": text(&status.rebuilding),
        "nms": nms.collect::<Vec<_>>(),
        "servers": servers.collect::<Vec<_>>(),
        "pairs": pairs.collect::<Vec<_>>(),
    })
}

/// How far the background scrubber of a server is.
fn scrub_json(scrub: &ScrubState) -> Value {
    let at = |ms: u64| if ms == 0 { Value::Null } else { utc(ms) };
    json!({
        "verified": at(scrub.verified_ms),
        "started": at(scrub.started_ms),
        "bytes": scrub.bytes,
        "expected_bytes": scrub.expected,
        "bytes_per_second": scrub.bytes_per_second,
        "eta_seconds": scrub.left_ms().map(|left| left.div_ceil(1000)),
        "bad_files": scrub.bad_files,
        "period_seconds": scrub.period_ms / 1000,
    })
}

/// What the background scrubber of a server does, if it does something.
fn scrub_line(scrub: &ScrubState) -> Option<String> {
    let left =
        scrub.left_ms().map_or(String::new(), |left| format!(", {} left", span(Duration::from_millis(left))));
    let (done, all, rate) = (size(scrub.bytes), size(scrub.expected), size(scrub.bytes_per_second));
    (scrub.started_ms != 0).then(|| format!("scrubs: {done} of {all}, {rate}/s{left}"))
}

/// How long ago something was, for people.
fn ago(ms: Option<u64>) -> String {
    let now = net::clock::wall_millis();
    ms.map_or("never".to_owned(), |ms| format!("{} ago", span(Duration::from_millis(now.saturating_sub(ms)))))
}

/// How long the other member still needs, at its present rate.
fn time_left(pair: &PairStatus) -> Option<Duration> {
    pair.left_ms.map(Duration::from_millis)
}

fn print(out: Printer, status: &StatusReply) -> Result<()> {
    print_managers(out, status)?;
    print_servers(out, status)?;
    print_pairs(out, status)
}

fn print_managers(out: Printer, status: &StatusReply) -> Result<()> {
    let leader = if status.leader.is_empty() { out.paint(Style::Bad, "none") } else { status.leader.clone() };
    out.line(format!("{} {leader}", out.paint(Style::Bold, "leader")))?;
    if !status.rebuilding.is_empty() {
        out.line(format!("{} {}", out.paint(Style::Bad, "being rebuilt:"), status.rebuilding))?;
    }
    let rows = status.nms.iter().map(|nm| {
        vec![
            Field::from(&nm.name),
            Field::from(&nm.role),
            Field::from(&nm.addr),
            Field::from(nm.term.to_string()),
            Field::from(nm.applied.to_string()),
        ]
    });
    out.table(&["NAME MANAGER", "ROLE", "ADDRESS", ">TERM", ">APPLIED"], rows.collect())?;
    out.line("")
}

fn print_servers(out: Printer, status: &StatusReply) -> Result<()> {
    let rows = status.servers.iter().map(|server| {
        let style = match server.state.as_str() {
            "alive" => Style::Good,
            "failed" => Style::Bad,
            _ => Style::Warn,
        };
        let heard = server.last_heartbeat_ms;
        let heard = heard.map_or("never".to_owned(), |ms| format!("{} ago", span(Duration::from_millis(ms))));
        let freshness = if server.fresh { "fresh" } else { "stale" };
        vec![
            Field::from(&server.name),
            Field::from(&server.role),
            Field::new(&server.state, style),
            Field::from(freshness),
            Field::from(heard),
            Field::from(size(server.used_bytes)),
            Field::from(size(server.free_bytes)),
            Field::from(if server.addr.is_empty() { "-" } else { &server.addr }),
        ]
    });
    out.table(&["SERVER", "ROLE", "STATE", "COPY", ">HEARD", ">USED", ">FREE", "ADDRESS"], rows.collect())?;
    for server in status.servers.iter().filter(|server| !server.trouble.is_empty()) {
        out.line(format!("{} {}", out.paint(Style::Warn, &format!("{}:", server.name)), server.trouble))?;
    }
    for server in &status.servers {
        if let Some(line) = server.scrub.as_ref().and_then(scrub_line) {
            out.line(format!("{}: {line}", server.name))?;
        }
    }
    out.line("")
}

fn print_pairs(out: Printer, status: &StatusReply) -> Result<()> {
    let rows = status.pairs.iter().map(|pair| {
        let style = match pair.state.as_str() {
            "active" => Style::Good,
            "down" => Style::Bad,
            _ => Style::Warn,
        };
        let count =
            |count: u64, style| Field::new(count.to_string(), if count == 0 { Style::Plain } else { style });
        let acting = match pair.acting.as_str() {
            "" => Field::new("nobody", Style::Bad),
            acting => Field::from(acting),
        };
        vec![
            Field::from(&pair.name),
            Field::new(&pair.state, style),
            acting,
            Field::from(&pair.preferred),
            Field::from(pair.epoch.to_string()),
            Field::from(pair.files.to_string()),
            Field::from(lag(pair)),
            count(pair.at_risk_files, Style::Warn),
            count(pair.owed_versions, Style::Warn),
            count(pair.lost_versions, Style::Bad),
            count(pair.bad_files, Style::Bad),
            Field::from(ago(pair.verified_ms)),
        ]
    });
    let heads = [
        "PAIR",
        "STATE",
        "ACTING",
        "PREFERRED",
        ">EPOCH",
        ">FILES",
        ">LAG",
        ">AT RISK",
        ">OWED",
        ">LOST",
        ">BAD",
        ">VERIFIED",
    ];
    out.table(&heads, rows.collect())?;
    for pair in &status.pairs {
        if let Some(left) = pair.damped_ms {
            let left = span(Duration::from_millis(left));
            let (name, what) = (&pair.preferred, "failed again and again: it takes its role back in");
            out.line(format!("{} {what} {left}", out.paint(Style::Warn, &format!("{name}:"))))?;
        }
    }
    Ok(())
}

fn lag(pair: &PairStatus) -> String {
    let relayed = if pair.relaying { ", through the nm" } else { "" };
    if pair.lag_rows == 0 {
        return format!("none{relayed}");
    }
    let lag = format!("{}, {}{relayed}", plural(pair.lag_rows, "row"), size(pair.lag_bytes));
    if pair.rows_per_second == 0 && pair.bytes_per_second == 0 {
        return lag;
    }
    let left = time_left(pair).map_or(String::new(), |left| format!(", {} left", span(left)));
    format!("{lag}; {} rows/s, {}/s{left}", pair.rows_per_second, size(pair.bytes_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_null_for_programs() {
        let pair =
            PairStatus { name: "ss1".into(), lag_rows: 10, left_ms: Some(2500), ..PairStatus::default() };
        let value = to_json(&StatusReply { pairs: vec![pair], ..StatusReply::default() });
        assert_eq!(value["leader"], Value::Null);
        assert_eq!(value["pairs"][0]["acting"], Value::Null);
        assert_eq!(value["pairs"][0]["eta_seconds"], 3);
    }
}
