//! `scrub`: both copies compared with their digests, and repaired from each other.

use super::Context;
use crate::output::{Printer, Style, plural, size, span};
use clap::Args;
use client::scrub::{Damage, ScrubOptions, ScrubProgress, ScrubReport};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use types::{Code, Error, Result};

/// How often progress is shown.
const PROGRESS_PAUSE: Duration = Duration::from_millis(300);

/// `pairfs scrub`.
#[derive(Args, Clone, Debug)]
pub struct ScrubArgs {
    /// Files and folders [default: everything, the trash too]
    pub paths: Vec<String>,
    /// Bytes a second that each server reads, at most [default: as fast as it goes, behind foreground work]
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub rate: u64,
}

/// Runs `scrub`.
///
/// # Errors
/// `DAMAGED` when damage stays; `UNAVAILABLE` when a copy could not be looked at; as [`client::Client::scrub`].
pub async fn scrub(context: &Context, args: &ScrubArgs) -> Result<()> {
    let options = ScrubOptions { paths: args.paths.clone(), rate: args.rate };
    let (client, progress, begin) = (context.connect().await?, ScrubProgress::default(), Instant::now());
    let report = tokio::select! {
        report = client.scrub(&options, &progress) => report,
        never = show(context.out, &progress, begin) => never,
    };
    clear_line(context.out);
    let report = report?;
    if context.out.json {
        context.out.object(&to_json(&report, begin.elapsed()))?
    } else {
        print(context.out, &report, begin.elapsed())?
    }
    let stays = report.stays().count() as u64;
    if stays > 0 {
        let what =
            format_args!("{} cannot be repaired", plural(stays, "bad copy").replace("copys", "copies"));
        let next = "see the list; bring the other server back if it is away, else restore these files from elsewhere";
        return Err(Error::new(Code::Damaged, what, next));
    }
    let away: Vec<&str> =
        report.members.iter().filter(|m| m.away.is_some()).map(|m| m.server.as_str()).collect();
    if away.is_empty() {
        return Ok(());
    }
    let what = format_args!("no answer from {}, whose copies were not all looked at", away.join(", "));
    Err(Error::new(Code::Unavailable, what, "run it again when all servers are there"))
}

fn is_shown(out: Printer) -> bool {
    std::io::stderr().is_terminal() && !out.quiet && !out.json
}

fn clear_line(out: Printer) {
    if is_shown(out) {
        // A closed terminal is no reason to complain.
        let _ = std::io::stderr().write_all(b"\r\x1b[K");
    }
}

/// Shows progress until it is dropped; for a terminal only.
async fn show(out: Printer, progress: &ScrubProgress, begin: Instant) -> Result<ScrubReport> {
    if !is_shown(out) {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(PROGRESS_PAUSE).await;
        let line = format!("\r\x1b[K{}", progress_line(progress, begin.elapsed()));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn progress_line(progress: &ScrubProgress, time: Duration) -> String {
    let get = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let (files, bytes, expected) = (get(&progress.files), get(&progress.bytes), get(&progress.expected));
    let rate = bytes as f64 / time.as_secs_f64().max(0.001);
    let mut line = format!(
        "{} looked at, {}, {}/s",
        plural(files, "copy").replace("copys", "copies"),
        size(bytes),
        size(rate as u64)
    );
    if expected > bytes && rate >= 1.0 {
        let left = Duration::from_secs_f64((expected - bytes) as f64 / rate);
        line.push_str(&format!(", about {} left", span(left)));
    }
    match get(&progress.found) {
        0 => line,
        found => format!("{line}, {found} bad"),
    }
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "path": damage.path,
        "id": damage.file,
        "version": damage.version.to_string(),
        "server": damage.server,
        "what": damage.what,
        "repaired": damage.stays.is_none(),
        "reason": damage.stays,
    })
}

fn to_json(report: &ScrubReport, time: Duration) -> Value {
    let members = report.members.iter().map(|member| {
        json!({
            "server": member.server, "files": member.files, "bytes": member.bytes,
            "complete": member.away.is_none(), "reason": member.away,
        })
    });
    let lost = report.without_good_copy().into_iter();
    json!({
        "well": report.stays().next().is_none() && report.members.iter().all(|member| member.away.is_none()),
        "members": members.collect::<Vec<_>>(),
        "damage": report.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "repaired": report.damage.iter().filter(|damage| damage.stays.is_none()).count(),
        "no_good_copy": lost
            .map(|(path, version)| json!({"path": path, "version": version.to_string()}))
            .collect::<Vec<_>>(),
        "seconds": time.as_secs_f64(),
    })
}

fn print(out: Printer, report: &ScrubReport, time: Duration) -> Result<()> {
    for damage in &report.damage {
        let (style, word) = match damage.stays {
            None => (Style::Good, "repaired"),
            Some(_) => (Style::Bad, "damaged"),
        };
        let why = damage.stays.as_ref().map_or(String::new(), |why| format!("; not repaired: {why}"));
        out.line(format!(
            "{} {} version {} on {}: {}{}",
            out.paint(style, word),
            out.name(&damage.path),
            damage.version,
            damage.server,
            out.name(&damage.what),
            out.name(&why),
        ))?;
    }
    for (path, version) in report.without_good_copy() {
        let path = out.name(&path);
        out.line(format!("{} {path} version {version}: both copies are bad", out.paint(Style::Bad, "lost")))?;
    }
    for member in &report.members {
        if let Some(why) = &member.away {
            out.line(format!("{} {}: {}", out.paint(Style::Warn, "away"), member.server, out.name(why)))?;
        }
        if !out.quiet {
            out.line(format!("{}: {}, {}", member.server, plural(member.files, "file"), size(member.bytes)))?;
        }
    }
    if out.quiet {
        return Ok(());
    }
    let stays = report.stays().count();
    let repaired = report.damage.len() - stays;
    let away = report.members.iter().any(|member| member.away.is_some());
    let result = match (repaired, stays) {
        (0, 0) if away => out.paint(Style::Warn, "nothing bad was found where it could be looked"),
        (0, 0) => out.paint(Style::Good, "all is well"),
        (repaired, 0) => out.paint(Style::Good, &format!("{repaired} repaired, all is well now")),
        (repaired, stays) => out.paint(Style::Bad, &format!("{repaired} repaired, {stays} still bad")),
    };
    out.line(format!("{result}, in {}", span(time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_tells_the_time_left_when_it_can_be_known() {
        let progress = ScrubProgress::default();
        progress.bytes.store(50 << 20, Ordering::Relaxed);
        progress.files.store(3, Ordering::Relaxed);
        assert!(!progress_line(&progress, Duration::from_secs(1)).contains("left"));
        progress.expected.store(100 << 20, Ordering::Relaxed);
        let line = progress_line(&progress, Duration::from_secs(1));
        assert!(line.contains("3 copies") && line.contains("1") && line.contains("left"), "{line}");
    }
}
