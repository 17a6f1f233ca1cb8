//! `fsck`: the index and both copies, compared.

use super::Context;
use crate::output::{Printer, Style, plural};
use clap::Args;
use client::fsck::{Difference, FsckOptions, Report};
use serde_json::{Value, json};
use types::{Code, Error, Result};

/// `pairfs fsck`.
#[derive(Args, Clone, Debug)]
pub struct FsckArgs {
    /// Compare records and digests only; do not read every byte
    #[arg(long)]
    pub quick: bool,
}

/// Runs `fsck`.
///
/// # Errors
/// `DAMAGED` when something differs that lag does not explain; `UNAVAILABLE` when a copy could not be
/// compared; as [`client::Client::fsck`].
pub async fn fsck(context: &Context, args: &FsckArgs) -> Result<()> {
    let options = FsckOptions { verify: !args.quick };
    let report = context.connect().await?.fsck(&options).await?;
    if context.out.json {
        context.out.object(&to_json(&report))?
    } else {
        print(context.out, &report)?
    }
    let damage = report.differences().count();
    if damage > 0 {
        let what = format_args!("{damage} differences between the index and the copies");
        return Err(Error::new(
            Code::Damaged,
            what,
            "see the list; copy what is well before you change anything",
        ));
    }
    if let Some(pair) = report.pairs.iter().find(|pair| pair.cut_short) {
        let what = format_args!("so many files of {} differed for lag that not all were compared", pair.name);
        return Err(Error::new(Code::Unavailable, what, "run it again when the lag is smaller"));
    }
    let away: Vec<&str> = report.away().map(|member| member.server.as_str()).collect();
    if away.is_empty() {
        return Ok(());
    }
    let what = format_args!("no answer from {}, whose copies were not compared", away.join(", "));
    Err(Error::new(Code::Unavailable, what, "run it again when all servers are there"))
}

fn to_json(report: &Report) -> Value {
    let difference = |difference: &Difference| {
        json!({
            "server": difference.server,
            "path": difference.path,
            "id": difference.file,
            "version": difference.version.map(|version| version.to_string()),
            "reason": difference.reason.name(),
            "message": difference.reason.to_string(),
        })
    };
    let pairs = report.pairs.iter().map(|pair| {
        let members = pair.members.iter().map(|member| {
            json!({"server": member.server, "files": member.files, "compared": member.away.is_none(), "reason": member.away})
        });
        json!({
            "pair": pair.name,
            "files": pair.files,
            "lagging": pair.lagging,
            "cut_short": pair.cut_short,
            "members": members.collect::<Vec<_>>(),
            "differences": pair.differences.iter().map(difference).collect::<Vec<_>>(),
        })
    });
    json!({
        "well": report.differences().next().is_none()
            && report.away().next().is_none()
            && !report.pairs.iter().any(|pair| pair.cut_short),
        "pairs": pairs.collect::<Vec<_>>(),
    })
}

fn print(out: Printer, report: &Report) -> Result<()> {
    for pair in &report.pairs {
        for difference in &pair.differences {
            let version = difference.version.map_or(String::new(), |version| format!(" version {version}"));
            out.line(format!(
                "{} {}{version} on {}: {}",
                out.paint(Style::Bad, "differs"),
                out.name(&difference.path),
                difference.server,
                out.name(&difference.reason.to_string()),
            ))?;
        }
        for member in pair.members.iter().filter(|member| member.away.is_some()) {
            let why = member.away.as_deref().unwrap_or_default();
            out.line(format!("{} {}: {}", out.paint(Style::Warn, "away"), member.server, out.name(why)))?;
        }
        if out.quiet {
            continue;
        }
        let compared: Vec<&str> = pair
            .members
            .iter()
            .filter(|member| member.away.is_none())
            .map(|member| member.server.as_str())
            .collect();
        let lag =
            if pair.lagging == 0 { String::new() } else { format!(", {} not yet copied", pair.lagging) };
        let differences = match pair.differences.len() {
            0 => out.paint(Style::Good, "no differences"),
            count => out.paint(Style::Bad, &plural(count as u64, "difference")),
        };
        let files = plural(pair.files, "file");
        out.line(match compared.join(" and ").as_str() {
            "" => format!("{}: {files}, {}", pair.name, out.paint(Style::Bad, "nobody to compare them on")),
            on => format!("{}: {files}, compared on {on}: {differences}{lag}", pair.name),
        })?;
    }
    Ok(())
}
