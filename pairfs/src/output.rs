//! What commands print: JSON for programs, tables and words for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;
use types::{Code, Error, Result};

/// Prints to standard output. When its reader has gone (`pairfs ls | head`) the process ends quietly, unless it has more to
/// do than to print.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    /// JSON was asked for.
    pub json: bool,
    /// Less was asked for.
    pub quiet: bool,
    /// More was asked for, so many times.
    pub verbose: u8,
    /// Standard output is a terminal.
    pub terminal: bool,
    colour: bool,
    /// A reader that has gone ends nothing.
    goes_on: bool,
}

/// How text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// Well.
    Good,
    /// To be looked at.
    Warn,
    /// Bad.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Bold,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Style::Plain => "",
            Style::Good => "32",
            Style::Warn => "33",
            Style::Bad => "31",
            Style::Dim => "2",
            Style::Bold => "1",
        }
    }
}

impl Printer {
    /// For this process.
    pub fn new(json: bool, quiet: bool, verbose: u8) -> Printer {
        let terminal = std::io::stdout().is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Printer { json, quiet, verbose, terminal, colour: terminal && wanted && !json, goes_on: false }
    }

    /// The same for a command whose work goes on when nobody reads what it says.
    pub fn that_goes_on(self) -> Printer {
        Printer { goes_on: true, ..self }
    }

    /// Bytes as they are.
    pub fn bytes(self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe && self.goes_on => Ok(()),
            // Nobody reads any more, so nobody waits for the rest.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.map_err(|error| unwritable(&error)),
        }
    }

    /// A line for people.
    pub fn line(self, text: impl AsRef<str>) -> Result<()> {
        self.bytes(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// One JSON object on a line.
    pub fn object(self, value: &Value) -> Result<()> {
        self.line(value.to_string())
    }

    /// A word of progress on standard error, when more was asked for.
    pub fn note(self, text: impl AsRef<str>) {
        if self.verbose > 0 && !self.quiet {
            eprintln!("pairfs: {}", text.as_ref());
        }
    }

    /// Text in a style, on a terminal that has colours.
    pub fn paint(self, style: Style, text: &str) -> String {
        match style {
            Style::Plain => text.to_owned(),
            _ if !self.colour => text.to_owned(),
            style => format!("\x1b[{}m{text}\x1b[0m", style.code()),
        }
    }

    /// A name from outside: on a terminal its control characters are escaped.
    pub fn name(self, name: &str) -> String {
        if self.terminal { escaped(name) } else { name.to_owned() }
    }

    /// A table. A head that begins with `>` has its column stand to the right. Control characters are
    /// escaped everywhere: they would tear it apart.
    pub fn table(self, heads: &[&str], rows: Vec<Vec<Field>>) -> Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heads.iter().map(|head| Cell::new(head.trim_start_matches('>'))));
        for row in &rows {
            table.add_row(row.iter().map(|field| Cell::new(&field.text)));
        }
        for (column, head) in table.column_iter_mut().zip(heads) {
            column.set_padding((0, 2));
            if head.starts_with('>') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match number.checked_sub(1).and_then(|number| rows.get(number)) {
                Some(row) => self.line(self.paint_fields(line, row))?,
                None => self.line(self.paint(Style::Dim, line))?,
            }
        }
        Ok(())
    }

    /// Colours the fields of a line after it was laid out: colours have no width.
    fn paint_fields(self, line: &str, row: &[Field]) -> String {
        let (mut painted, mut rest) = (String::new(), line);
        for field in row.iter().filter(|field| !field.text.is_empty()) {
            if let Some((before, after)) = rest.split_once(field.text.as_str()) {
                painted.push_str(before);
                painted.push_str(&self.paint(field.style, &field.text));
                rest = after;
            }
        }
        painted + rest
    }
}

/// What stands in one place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    text: String,
    style: Style,
}

impl Field {
    /// Text in a style.
    pub fn new(text: impl AsRef<str>, style: Style) -> Field {
        Field { text: escaped(text.as_ref()), style }
    }
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Field {
        Field::new(text, Style::Plain)
    }
}

/// The error that standard output takes nothing more.
pub fn unwritable(error: &std::io::Error) -> Error {
    let code = if error.kind() == ErrorKind::StorageFull { Code::DiskFull } else { Code::Io };
    Error::new(code, format_args!("standard output: {error}"), "look where it leads")
}

/// Control characters as escapes.
pub fn escaped(text: &str) -> String {
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Prints an error on standard error: one line, or an object.
pub fn error(error: &Error, json: bool) {
    let text = match json {
        true => json!({"error": {"code": error.code.name(), "message": error.message}}).to_string(),
        false => format!("error[{}]: {}", error.code.name(), escaped(&error.message)),
    };
    // There is nowhere left to complain.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count of things for people: "1 file", "2 files".
pub fn plural(count: u64, noun: &str) -> String {
    let (stem, end) = match noun.strip_suffix('y') {
        _ if count == 1 => (noun, ""),
        Some(stem) => (stem, "ies"),
        None => (noun, "s"),
    };
    format!("{count} {stem}{end}")
}

/// A span of time for people.
pub fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// An instant for programs: RFC 3339 in UTC, always to the millisecond, so that they sort as texts; null for none.
pub fn utc(millis: u64) -> Value {
    match instant(millis) {
        Some(time) => Value::String(format!("{time:.3}")),
        None => Value::Null,
    }
}

/// An instant for people, in their time zone.
pub fn local(millis: u64) -> String {
    match instant(millis) {
        Some(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => "-".to_owned(),
    }
}

fn instant(millis: u64) -> Option<Timestamp> {
    let millis = i64::try_from(millis).ok().filter(|millis| *millis > 0)?;
    Timestamp::from_millisecond(millis).ok()
}

/// Text, or null if it is empty.
pub fn text(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short_for_people() {
        let sizes =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB"), (5 << 30, "5.0 GiB")];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(size(u64::MAX), "16.0 EiB");
        assert_eq!(span(Duration::from_millis(120)), "120 ms");
        assert_eq!(span(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(span(Duration::from_secs(90_000)), "1 d 1 h");
    }

    #[test]
    fn one_thing_is_not_called_many() {
        let counts = [(0, "file", "0 files"), (1, "file", "1 file"), (2, "copy", "2 copies")];
        for (count, noun, text) in counts {
            assert_eq!(plural(count, noun), text);
        }
    }

    #[test]
    fn times_for_programs_are_utc() {
        assert_eq!(utc(1_700_000_000_123), json!("2023-11-14T22:13:20.123Z"));
        assert_eq!(utc(1_700_000_000_120), json!("2023-11-14T22:13:20.120Z"));
        assert_eq!(utc(1_700_000_000_000), json!("2023-11-14T22:13:20.000Z"));
        assert_eq!(utc(0), Value::Null);
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let printer =
            Printer { json: false, quiet: false, verbose: 0, terminal: true, colour: true, goes_on: false };
        let row = [Field::from("a"), Field::new("alive", Style::Good), Field::from(""), Field::from("a")];
        assert_eq!(printer.paint_fields(" a  alive    a", &row), " a  \x1b[32malive\x1b[0m    a");
        assert_eq!(Field::from("a\nb"), Field { text: "a\\nb".into(), style: Style::Plain });
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(escaped("a\x1b[2J\nb\u{9b}é"), "a\\u{1b}[2J\\nb\\u{9b}é");
    }
}
