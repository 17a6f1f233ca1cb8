//! What `up`, `down`, `node`, `demo` and `bench` print: lines for people, or objects for programs.

use crate::output::unwritable;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use types::Result;

/// Prints lines on stdout; silent when quiet, coloured on a terminal. With `--json` each is an object that names what it
/// is: `text`, `step`, `holds`, `command`. A reader that went away is no error: the work goes on.
#[derive(Clone, Copy, Debug)]
pub struct Narrator {
    quiet: bool,
    json: bool,
    colour: bool,
}

impl Narrator {
    /// For the standard output of this process.
    pub fn new(quiet: bool, json: bool) -> Narrator {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Narrator { quiet, json, colour: wanted && !json && std::io::stdout().is_terminal() }
    }

    /// Whether it prints for programs.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A plain line.
    pub fn line(self, text: impl Display) {
        self.say("text", &text);
    }

    /// What programs wait for: with `--json` the object, also when quiet; else the line. Other than of a line it is an error
    /// that it cannot be said.
    ///
    /// # Errors
    /// `DISK_FULL`, `IO`; none if nobody reads any more.
    pub fn result(self, object: &Value, text: impl Display) -> Result<()> {
        let written = match (self.json, self.quiet) {
            (true, _) => writeln!(std::io::stdout(), "{object}"),
            (false, false) => writeln!(std::io::stdout(), "{text}"),
            (false, true) => Ok(()),
        };
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(unwritable(&error)),
            _ => Ok(()),
        }
    }

    fn say(self, what: &str, text: &dyn Display) {
        match (self.quiet, self.json) {
            (true, _) => {}
            (false, true) => print(json!({ what: text.to_string().trim() })),
            (false, false) => print(text),
        }
    }

    /// What is being done, for someone who waits at a terminal.
    pub fn progress(self, text: impl Display) {
        if !self.quiet && std::io::stderr().is_terminal() {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// A heading.
    pub fn heading(self, text: impl Display) {
        match self.json {
            true => self.say("step", &text),
            false => self.line(format_args!("\n{}", self.bold(text))),
        }
    }

    /// Something that was checked and holds.
    pub fn holds(self, text: impl Display) {
        match self.json {
            true => self.say("holds", &text),
            false => self.line(format_args!("  {} {text}", self.styled("32", "✓"))),
        }
    }

    /// A command that is run for the reader.
    pub fn command(self, text: impl Display) {
        match self.json {
            true => self.say("command", &text),
            false => self.line(format_args!("  {}", self.dim(format_args!("$ {text}")))),
        }
    }

    /// Text that stands out.
    pub fn bold(self, text: impl Display) -> String {
        self.styled("1", text)
    }

    /// Text that stands back.
    pub fn dim(self, text: impl Display) -> String {
        self.styled("2", text)
    }

    fn styled(self, style: &str, text: impl Display) -> String {
        if self.colour { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_string() }
    }
}

fn print(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
