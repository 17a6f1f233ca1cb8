//! `config`: the settings, and where each came from.

use super::Context;
use crate::options::{Origin, Which};
use crate::output::Style;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use types::Result;

/// `pairfs config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do with the settings.
#[derive(Subcommand, Clone, Debug)]
pub enum What {
    /// Show them
    Show,
}

/// Runs `config`.
///
/// # Errors
/// As [`crate::options::Settings::resolve`].
pub fn config(context: &Context, args: &ConfigArgs) -> Result<()> {
    let What::Show = args.what;
    let settings = context.global.settings()?;
    let mut rows: Vec<(&str, Value, Option<Origin>)> = Vec::new();
    match settings.cluster {
        Some(cluster) => match cluster.value {
            Which::Dir(dir) => rows.push(("dir", dir.to_string_lossy().into(), Some(cluster.origin))),
            Which::Nm(nm) => rows.push(("nm", nm.join(",").into(), Some(cluster.origin))),
        },
        None => rows.push(("dir", Value::Null, None)),
    }
    match settings.key_file {
        Some(key) => rows.push(("key_file", key.value.to_string_lossy().into(), Some(key.origin))),
        None => rows.push(("key_file", Value::Null, None)),
    }
    let timeout = format!("{:?}", settings.timeout.value);
    rows.push(("timeout", timeout.into(), Some(settings.timeout.origin)));
    for (name, value, origin) in rows {
        let origin = origin.map(|origin| origin.to_string());
        if context.out.json {
            context.out.object(&json!({"name": name, "value": value, "origin": origin}))?;
            continue;
        }
        let value = value.as_str().map_or("(not set)".to_owned(), |value| context.out.name(value));
        let origin = origin.map_or(String::new(), |origin| format!("  from {origin}"));
        context.out.line(format!("{name:<10} {value}{}", context.out.paint(Style::Dim, &origin)))?;
    }
    Ok(())
}
