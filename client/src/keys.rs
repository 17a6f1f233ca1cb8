//! Request keys: which numbers are in use, and which is the lowest that has no answer yet (R13).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use types::ids::{ClientId, RequestKey};
use types::limits::RESULTS_PER_CLIENT;

/// Where a number stands that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// Being asked.
    Asking,
    /// Given up: its user may ask for it again by its key, so its result should not be forgotten.
    GivenUp,
}

/// The numbers of one client id.
#[derive(Debug)]
struct Book {
    client: ClientId,
    next: u64,
    open: BTreeMap<u64, Open>,
}

impl Book {
    fn new(client: ClientId) -> Book {
        Book { client, next: 1, open: BTreeMap::new() }
    }

    fn lowest(&self) -> u64 {
        self.open.first_key_value().map_or(self.next, |(number, _)| *number)
    }

    /// A new number; none while as many are being asked as the cluster keeps results. What was given up
    /// makes room: its result may be forgotten then.
    fn begin(&mut self) -> Option<u64> {
        while self.next >= self.lowest() + RESULTS_PER_CLIENT {
            let oldest = self.open.first_entry().filter(|entry| *entry.get() == Open::GivenUp)?;
            oldest.remove();
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, Open::Asking);
        Some(number)
    }

    fn end(&mut self, number: u64, answered: bool) {
        if answered {
            self.open.remove(&number);
        } else if let Some(open) = self.open.get_mut(&number) {
            *open = Open::GivenUp;
        }
    }

    fn is_idle(&self) -> bool {
        self.open.values().all(|open| *open == Open::GivenUp)
    }
}

/// The request keys of one client.
#[derive(Debug)]
pub(crate) struct Keys {
    book: Mutex<(Book, Instant)>,
    room: Notify,
}

impl Keys {
    pub(crate) fn new(client: ClientId) -> Keys {
        Keys { book: Mutex::new((Book::new(client), Instant::now())), room: Notify::new() }
    }

    fn book(&self) -> MutexGuard<'_, (Book, Instant)> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing was asked for `idle`: the cluster may soon forget the client id.
    pub(crate) fn idle_for(&self, idle: Duration) -> bool {
        let (book, used) = &*self.book();
        used.elapsed() >= idle && book.is_idle()
    }

    /// Begins anew with another client id, unless something is being asked under this one.
    pub(crate) fn renew(&self, client: ClientId) {
        let (book, used) = &mut *self.book();
        if book.is_idle() {
            *book = Book::new(client);
            *used = Instant::now();
        }
    }

    /// A key for a new request; waits while 1024 are unanswered.
    pub(crate) async fn begin(&self) -> OpenKey<'_> {
        loop {
            let room = self.room.notified();
            {
                let (book, used) = &mut *self.book();
                *used = Instant::now();
                if let Some(number) = book.begin() {
                    return OpenKey { keys: self, client: book.client, number, answered: false };
                }
            }
            room.await;
        }
    }
}

/// The key of a request that is being asked.
pub(crate) struct OpenKey<'a> {
    keys: &'a Keys,
    client: ClientId,
    number: u64,
    answered: bool,
}

impl OpenKey<'_> {
    /// The key as it is sent now: the lowest unanswered number moves on.
    pub(crate) fn key(&self) -> RequestKey {
        let lowest = self.keys.book().0.lowest().min(self.number);
        RequestKey { client: self.client, number: self.number, lowest }
    }

    /// It surely has its answer: nobody will ask again.
    pub(crate) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for OpenKey<'_> {
    fn drop(&mut self) {
        let (book, _) = &mut *self.keys.book();
        if book.client == self.client {
            book.end(self.number, self.answered);
        }
        self.keys.room.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn client() -> ClientId {
        ClientId { issued: 1, random: 2 }
    }

    #[test]
    fn a_result_that_may_be_asked_for_again_is_not_given_up_for_forgetting() {
        let mut book = Book::new(client());
        let numbers: Vec<u64> = (0..3).filter_map(|_| book.begin()).collect();
        assert_eq!((numbers, book.lowest()), (vec![1, 2, 3], 1));
        book.end(2, true);
        assert_eq!(book.lowest(), 1);
        book.end(1, false);
        assert_eq!(book.lowest(), 1, "its outcome is unknown: the user may ask again");
        book.end(3, true);
        assert_eq!(book.lowest(), 1);
        assert!(book.is_idle());
    }

    #[test]
    fn requests_wait_rather_than_be_refused_by_the_cluster() {
        let mut book = Book::new(client());
        let first = book.begin().unwrap();
        for _ in 1..RESULTS_PER_CLIENT {
            let number = book.begin().unwrap();
            book.end(number, true);
        }
        assert_eq!(book.begin(), None, "{} would be refused", first + RESULTS_PER_CLIENT);
        book.end(first, false);
        assert_eq!(book.begin(), Some(first + RESULTS_PER_CLIENT), "what was given up makes room");
    }

    #[tokio::test]
    async fn a_dropped_request_keeps_its_number_open() {
        let keys = Keys::new(client());
        drop(keys.begin().await);
        let second = keys.begin().await;
        assert_eq!(second.key(), RequestKey { client: client(), number: 2, lowest: 1 });
        second.answered();
        keys.renew(ClientId { issued: 9, random: 9 });
        let fresh = keys.begin().await;
        assert_eq!((fresh.key().client.issued, fresh.key().number, fresh.key().lowest), (9, 1, 1));
    }

    proptest! {
        #[test]
        fn no_number_is_ever_beyond_what_the_cluster_accepts(ends in proptest::collection::vec((0..8u64, any::<bool>()), 1..2000)) {
            let mut book = Book::new(client());
            for (back, answered) in ends {
                if let Some(number) = book.begin() {
                    prop_assert!(number < book.lowest() + RESULTS_PER_CLIENT);
                    book.end(number.saturating_sub(back), answered);
                }
            }
        }
    }
}
