//! `config`: the settings, and where each came from.

use super::Context;
use crate::options::{Origin, Settings, Which};
use crate::output::Style;
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;
use types::{Code, Error, Result};

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

/// How long the servers may take to tell theirs, unless --timeout says so.
const PATIENCE: Duration = Duration::from_secs(5);

/// A setting of this client (no server) or of a server.
struct Shown<'a> {
    server: Option<&'a str>,
    name: &'a str,
    value: Option<&'a str>,
    origin: Option<&'a str>,
}

/// Runs `config`.
///
/// # Errors
/// As [`crate::options::Settings::resolve`].
pub async fn config(context: &Context, args: &ConfigArgs) -> Result<()> {
    let What::Show = args.what;
    let settings = context.global.settings()?;
    let is_cluster = settings.cluster.is_some();
    client(context, settings)?;
    if !is_cluster {
        return Ok(());
    }
    // They are shown beside; who has only come to see why nothing answers is not to fail for it.
    if let Err(error) = servers(context).await {
        not_shown("the servers'", &error.message, error.code, context);
    }
    Ok(())
}

fn client(context: &Context, settings: Settings) -> Result<()> {
    let mut rows: Vec<(&str, Option<String>, Option<Origin>)> = Vec::new();
    match settings.cluster {
        Some(cluster) => match cluster.value {
            Which::Dir(dir) => rows.push(("dir", Some(dir.display().to_string()), Some(cluster.origin))),
            Which::Nm(nm) => rows.push(("nm", Some(nm.join(",")), Some(cluster.origin))),
        },
        None => rows.push(("dir", None, None)),
    }
    match settings.key_file {
        Some(key) => rows.push(("key_file", Some(key.value.display().to_string()), Some(key.origin))),
        None => rows.push(("key_file", None, None)),
    }
    let timeout = format!("{:?}", settings.timeout.value);
    rows.push(("timeout", Some(timeout), Some(settings.timeout.origin)));
    for (name, value, origin) in rows {
        let origin = origin.map(|origin| origin.to_string());
        show(context, &Shown { server: None, name, value: value.as_deref(), origin: origin.as_deref() })?;
    }
    Ok(())
}

/// What the name manager and the storage servers say of themselves.
async fn servers(context: &Context) -> Result<()> {
    let asked = tokio::time::timeout(context.global.timeout.unwrap_or(PATIENCE), async {
        context.connect().await?.settings().await
    });
    let late =
        |_| Error::new(Code::Unavailable, "the name manager did not answer in time", "see `pairfs doctor`");
    for told in asked.await.map_err(late)?? {
        let server = &told.server[..];
        if !context.out.json {
            context.out.line(format!("\n{}", context.out.name(server)))?;
        }
        if !told.trouble.is_empty() {
            not_shown(&format!("{server}'s"), &told.trouble, Code::Unavailable, context);
        }
        for setting in &told.settings {
            let (name, value) = (&setting.name[..], setting.value.as_deref());
            show(context, &Shown { server: Some(server), name, value, origin: Some(&setting.origin) })?;
        }
    }
    Ok(())
}

/// Says whose settings are missing, and why (what happened: what to do next).
fn not_shown(whose: &str, why: &str, code: Code, context: &Context) {
    let (what, next) = why.split_once(": ").unwrap_or((why, "see `pairfs doctor`"));
    let what = format_args!("{whose} settings are not shown, because {what}");
    crate::output::error(&Error::new(code, what, next), context.out.json);
}

fn show(context: &Context, shown: &Shown<'_>) -> Result<()> {
    let Shown { server, name, value, origin } = shown;
    if context.out.json {
        return context
            .out
            .object(&json!({"server": server, "name": name, "value": value, "origin": origin}));
    }
    let indent = if server.is_some() { "  " } else { "" };
    let value = value.map_or("(not set)".to_owned(), |value| context.out.name(value));
    let origin = origin.map_or(String::new(), |origin| format!("  from {origin}"));
    context.out.line(format!("{indent}{name:<18} {value}{}", context.out.paint(Style::Dim, &origin)))
}
