//! Names whose removal or move was decided and is not seen everywhere yet (R23).
//!
//! Until every acting member has applied it, one that serves reads may still give the old content under such a name, to
//! who looked it up before. So nobody may hear meanwhile that it is gone, or that something new stands there: they would
//! read the old after they had heard of the new.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use types::path::{PathName, lookup_name};

/// A name, by path and as an entry of its folder, if that is there.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) path: PathName,
    pub(crate) entry: Option<(u64, String)>,
}

struct Leaving {
    name: Name,
    /// Closed once it is seen.
    seen: watch::Receiver<()>,
}

/// The names; as many as there are removals and moves under way.
#[derive(Default)]
pub(crate) struct Unseen(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    leaving: HashMap<u64, Leaving>,
}

/// A removal or a move is under way as long as this lives.
pub(crate) struct UnderWay<'a> {
    unseen: &'a Unseen,
    number: u64,
    _seen: watch::Sender<()>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.unseen.state().leaving.remove(&self.number);
    }
}

impl Unseen {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to leave `name`: from before that is proposed, so that nothing new there is missed.
    pub(crate) fn begin(&self, name: Name) -> UnderWay<'_> {
        let (sender, seen) = watch::channel(());
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        state.leaving.insert(number, Leaving { name, seen });
        UnderWay { unseen: self, number, _seen: sender }
    }

    /// Waits until what was leaving the entry `name` of folder `parent` when this was called is seen.
    pub(crate) async fn entry(&self, parent: u64, name: &str) {
        let name = lookup_name(name);
        let is_it = |leaving: &Name| {
            leaving.entry.as_ref().is_some_and(|(id, at)| *id == parent && lookup_name(at) == name)
        };
        self.wait(is_it).await;
    }

    /// The same of `path` and all folders on its way.
    pub(crate) async fn path(&self, path: &PathName) {
        let names = known(path);
        self.wait(|leaving| names.starts_with(&known(&leaving.path))).await;
    }

    async fn wait(&self, concerns: impl Fn(&Name) -> bool) {
        let leaving: Vec<watch::Receiver<()>> = {
            let state = self.state();
            let concerned = state.leaving.values().filter(|leaving| concerns(&leaving.name));
            concerned.map(|leaving| leaving.seen.clone()).collect()
        };
        for mut seen in leaving {
            // Nothing is sent: it ends when the other side is dropped.
            let _ = seen.changed().await;
        }
    }
}

/// The names of a path, as they are compared.
fn known(path: &PathName) -> Vec<String> {
    path.names().iter().map(|name| lookup_name(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    fn name(path: &str, parent: u64, name: &str) -> Name {
        Name { path: PathName::parse(path).unwrap(), entry: Some((parent, name.into())) }
    }

    fn waits(unseen: &Unseen, parent: u64, name: &str) -> bool {
        unseen.entry(parent, name).now_or_never().is_none()
    }

    #[test]
    fn only_what_comes_to_a_name_that_is_being_left_waits_and_only_so_long() {
        let unseen = Unseen::default();
        assert!(!waits(&unseen, 1, "a"));
        let first = unseen.begin(name("/d/a", 1, "a"));
        let second = unseen.begin(name("/d/a", 1, "a"));
        assert!(waits(&unseen, 1, "a"));
        assert!(!waits(&unseen, 1, "b") && !waits(&unseen, 2, "a"));
        drop(first);
        assert!(waits(&unseen, 1, "a"));
        drop(second);
        assert!(!waits(&unseen, 1, "a"));
    }

    #[test]
    fn what_is_made_below_a_folder_that_is_being_left_waits() {
        let unseen = Unseen::default();
        let _moved = unseen.begin(name("/d", 1, "d"));
        let waits = |path: &str| unseen.path(&PathName::parse(path).unwrap()).now_or_never().is_none();
        assert!(waits("/d") && waits("/d/a/b"));
        assert!(!waits("/da") && !waits("/"));
    }
}
