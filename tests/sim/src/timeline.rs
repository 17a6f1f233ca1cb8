//! What happened when, for people: the log of all servers and the faults in one list.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines kept; older ones go.
const LINES: usize = 200_000;

/// The list; clones are the same one.
#[derive(Clone, Default)]
pub struct Timeline(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: VecDeque<String>,
    /// What lines begin with now: time and host.
    place: String,
}

thread_local! {
    static PRESENT: RefCell<Option<Rc<tracing::subscriber::DefaultGuard>>> = const { RefCell::new(None) };
}

impl Timeline {
    /// Takes what is logged on this thread, from `level` up, until [`Timeline::end`].
    pub fn begin(level: &str) -> Timeline {
        let timeline = Timeline::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .without_time()
            .with_ansi(false)
            .with_writer(timeline.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        PRESENT.set(Some(Rc::new(guard)));
        timeline
    }

    /// Takes nothing more.
    pub fn end(&self) {
        PRESENT.set(None);
    }

    /// Where and when what is logged next happens.
    pub fn at(&self, millis: u64, host: &str) {
        self.state().place = format!("{:>6}.{:03} {host:<11}", millis / 1000, millis % 1000);
    }

    /// Adds a line of the simulation's own.
    pub fn note(&self, millis: u64, what: &str) {
        self.at(millis, "----");
        self.state().push(what);
    }

    /// The last `lines` lines.
    pub fn last(&self, lines: usize) -> Vec<String> {
        let state = self.state();
        state.lines.iter().skip(state.lines.len().saturating_sub(lines)).cloned().collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, text: &str) {
        for line in text.lines() {
            if self.lines.len() >= LINES {
                self.lines.pop_front();
            }
            let line = format!("{} {}", self.place, line.trim_start());
            self.lines.push_back(line);
        }
    }
}

impl Write for &Timeline {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.state().push(&String::from_utf8_lossy(text));
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The other end of a [`Timeline`].
pub struct Pen(Timeline);

impl Write for Pen {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        (&self.0).write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Timeline {
    type Writer = Pen;

    fn make_writer(&self) -> Pen {
        Pen(self.clone())
    }
}
