//! `events`: what happened, and when.

use super::Context;
use crate::output::{Style, local};
use clap::Args;
use std::time::Duration;
use types::Result;
use types::record::Event;

/// How long one question for new events waits.
const FOLLOW_WAIT: Duration = Duration::from_secs(10);

/// `pairfs events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Wait for more
    #[arg(short, long)]
    pub follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: u64,
}

/// Runs `events`.
///
/// # Errors
/// As [`client::Client::events`].
pub async fn events(context: &Context, args: &EventsArgs) -> Result<()> {
    let client = context.connect().await?;
    let (mut after, mut wait) = (args.after, Duration::ZERO);
    loop {
        let events = client.events(after, 0, wait).await?;
        for event in &events {
            after = after.max(event.seq);
            if context.out.json {
                context.out.object(&nm::event_json(event))?
            } else {
                print(context, event)?
            }
        }
        if events.is_empty() {
            if !args.follow {
                return Ok(());
            }
            wait = FOLLOW_WAIT;
        }
    }
}

fn print(context: &Context, event: &Event) -> Result<()> {
    let out = context.out;
    let style = match event.kind.as_str() {
        "failed" | "lost" => Style::Bad,
        "suspect" | "unwell" | "damped" | "promoted" | "recovering" => Style::Warn,
        "caught-up" | "restored" | "repaired" | "well" => Style::Good,
        _ => Style::Plain,
    };
    let subject = if event.server.is_empty() { &event.pair } else { &event.server };
    let mut line = format!(
        "{}  {}  {:<12}",
        out.paint(Style::Dim, &local(event.time_ms)),
        out.paint(style, &format!("{:<12}", event.kind)),
        out.name(subject)
    );
    let mut details: Vec<String> = Vec::new();
    if !event.reason.is_empty() {
        details.push(out.name(&event.reason));
    }
    if event.epoch != 0 {
        details.push(format!("epoch {}", event.epoch));
    }
    details.extend(
        event.numbers.iter().map(|number| format!("{} {}", number.name.replace('_', " "), number.value)),
    );
    line.push_str("  ");
    line.push_str(&details.join(", "));
    out.line(line.trim_end())
}
