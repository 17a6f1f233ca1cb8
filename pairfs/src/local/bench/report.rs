//! What the benchmark prints.

use super::cost::Cost;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};
use std::time::Duration;

/// What a line counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Operations per second.
    PerSecond,
    /// Megabytes (1,000,000 bytes) per second.
    MegabytesPerSecond,
    /// Megabytes.
    Megabytes,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Entries of the log.
    Entries,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "/s",
            Unit::MegabytesPerSecond => "MB/s",
            Unit::Megabytes => "MB",
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
            Unit::Entries => "entries",
        }
    }
}

/// One measured thing.
#[derive(Clone, Debug)]
pub(super) struct Line {
    name: String,
    unit: Unit,
    value: f64,
    floor: Option<(&'static str, f64)>,
    /// Median and 99th percentile of one operation.
    latency: Option<(Duration, Duration)>,
    /// What one operation costs each process.
    cost: Vec<Cost>,
}

impl Line {
    pub(super) fn new(name: String, unit: Unit, value: f64) -> Line {
        Line { name, unit, value, floor: None, latency: None, cost: Vec::new() }
    }

    /// What the same costs without PairFS.
    pub(super) fn floor(mut self, what: &'static str, value: f64) -> Line {
        self.floor = Some((what, value));
        self
    }

    pub(super) fn latencies(mut self, mut all: Vec<Duration>) -> Line {
        all.sort_unstable();
        let at = |share: usize| all.get(all.len().saturating_sub(1) * share / 100).copied();
        self.latency = at(50).zip(at(99));
        self
    }

    /// The 99th percentile of one operation.
    pub(super) fn p99(&self) -> Option<Duration> {
        self.latency.map(|(_, most)| most)
    }

    pub(super) fn cost(mut self, cost: Vec<Cost>) -> Line {
        self.cost = cost;
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|(_, floor)| *floor > 0.0).map(|(_, floor)| self.value / floor)
    }

    pub(super) fn json(&self) -> Value {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit.name(),
            "floor": self.floor.map(|(_, value)| value),
            "floor_is": self.floor.map(|(what, _)| what),
            "ratio": self.ratio(),
            "p50_us": self.latency.map(|(half, _)| micros(half)),
            "p99_us": self.latency.map(|(_, most)| micros(most)),
            "cpu_us": self.cost_by(|cost| cost.micros),
            "sleeps": self.cost_by(|cost| cost.sleeps),
        })
    }
}

impl Line {
    /// A number of each process, rounded to a tenth.
    fn cost_by(&self, number: impl Fn(&Cost) -> f64) -> Value {
        let rounded = |cost: &Cost| json!((number(cost) * 10.0).round() / 10.0);
        self.cost
            .iter()
            .map(|cost| (cost.process.clone(), rounded(cost)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

/// All lines for people.
pub(super) fn table(lines: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "result", "floor", "ratio", "p50", "p99", "CPU", "the floor is"]);
    for line in lines {
        let unit = line.unit.name();
        let number = |value: f64| {
            if value < 100.0 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
        };
        let time = |time: Option<Duration>| {
            time.map_or_else(String::new, |time| format!("{:.2} ms", time.as_secs_f64() * 1e3))
        };
        table.add_row([
            line.name.clone(),
            number(line.value),
            line.floor.map_or_else(String::new, |(_, floor)| number(floor)),
            line.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            time(line.latency.map(|(half, _)| half)),
            time(line.latency.map(|(_, most)| most)),
            match line.cost.iter().map(|cost| cost.micros).sum::<f64>() {
                0.0 => String::new(),
                micros => format!("{micros:.0} us"),
            },
            line.floor.map_or_else(String::new, |(what, _)| what.to_owned()),
        ]);
    }
    for column in 1..7 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_its_floor_and_what_it_reaches_of_it() {
        let line = Line::new("write-4k-1".to_owned(), Unit::PerSecond, 500.0).floor("here", 1000.0);
        let line = line.latencies((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(line.json()["ratio"], 0.5);
        assert_eq!(line.json()["p50_us"], 50_000);
        assert_eq!(line.json()["p99_us"], 99_000);
        let shown = table(&[line, Line::new("stall-kill".to_owned(), Unit::Milliseconds, 42.0)]).to_string();
        assert!(shown.contains("500 /s") && shown.contains("0.50") && shown.contains("42.0 ms"), "{shown}");
    }

    #[test]
    fn a_line_without_operations_is_no_division_by_zero() {
        let line = Line::new("x".to_owned(), Unit::PerSecond, 0.0).floor("here", 0.0).latencies(Vec::new());
        assert!(line.json()["ratio"].is_null() && line.json()["p50_us"].is_null());
    }
}
