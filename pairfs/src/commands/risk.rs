//! The files at risk, for `status --files`.

use crate::output::{Printer, Style, utc};
use client::risk::{FilesAtRisk, Risk};
use serde_json::{Value, json};
use types::Result;

/// A list, each with its reasons.
pub fn to_json(files: &FilesAtRisk) -> Value {
    let reason = |risk: &Risk| {
        let (server, version, since) = match risk {
            Risk::OneCopy => (None, None, None),
            Risk::BadCopy(server) => (Some(server), None, None),
            Risk::Unverified { server, since_ms } => (Some(server), None, Some(utc(*since_ms))),
            Risk::Owed(version, server) | Risk::Lost(version, server) => (Some(server), Some(version), None),
            Risk::Conflict(version) => (None, Some(version), None),
        };
        json!({
            "reason": risk.name(),
            "server": server,
            "version": version.map(|version| version.to_string()),
            "since": since,
        })
    };
    let file = |file: &client::risk::FileAtRisk| {
        json!({
            "path": file.path,
            "id": file.file,
            "pair": file.pair,
            "reasons": file.risks.iter().map(reason).collect::<Vec<_>>(),
        })
    };
    files.files.iter().map(file).collect()
}

/// A line for each reason.
pub fn print(out: Printer, files: &FilesAtRisk) -> Result<()> {
    out.line("")?;
    for file in &files.files {
        for risk in &file.risks {
            let style =
                if matches!(risk, Risk::BadCopy(_) | Risk::Lost(..)) { Style::Bad } else { Style::Warn };
            out.line(format!("{} {}: {risk}", out.paint(style, "at risk"), out.name(&file.path)))?;
        }
    }
    match (files.files.is_empty(), files.more) {
        (true, _) => out.line("no file is at risk"),
        (false, true) => out.line("there are more: see --limit"),
        (false, false) => Ok(()),
    }
}
