//! Works through a tree: some folders at a time, and of their files many small and a few large ones at once.
//! What waits is bounded: folders are taken up only while few files wait, a page of names at a time.

use super::report::Report;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Folders being looked at or made at once.
const FOLDERS_AT_ONCE: usize = 8;
/// Small files on their way at once.
const SMALL_AT_ONCE: usize = 32;
/// Large files on their way at once.
const LARGE_AT_ONCE: usize = 2;
/// No other folder is taken up while so many files wait.
const WAITING_MAX: usize = 4096;

/// What a folder holds that is to be done.
pub struct Found<F, J> {
    /// Folders below it, or more of itself.
    pub folders: Vec<F>,
    /// Files.
    pub files: Vec<J>,
}

impl<F, J> Default for Found<F, J> {
    fn default() -> Self {
        Found { folders: Vec::new(), files: Vec::new() }
    }
}

/// One direction of a transfer. What goes wrong is told to its report.
pub trait Side: Send + Sync + 'static {
    /// A folder to look into.
    type Folder: Send + 'static;
    /// A file to transfer, or another single thing to do.
    type File: Send + 'static;

    /// Looks into a folder.
    fn folder(
        self: Arc<Self>,
        folder: Self::Folder,
    ) -> impl Future<Output = Found<Self::Folder, Self::File>> + Send;

    /// Does a file.
    fn file(self: Arc<Self>, file: Self::File) -> impl Future<Output = ()> + Send;

    /// Whether a file is so large that few of them fill the line.
    fn is_large(file: &Self::File) -> bool;
}

enum Ended<F, J> {
    Folder(Found<F, J>),
    Small,
    Large,
}

/// Does `first` and all that is found by it; stops early when the report says so.
pub async fn run<S: Side>(side: Arc<S>, report: &Report, first: Found<S::Folder, S::File>) {
    let mut running: JoinSet<Ended<S::Folder, S::File>> = JoinSet::new();
    let (mut folders, mut small, mut large) = (Vec::new(), VecDeque::new(), VecDeque::new());
    let (mut folders_now, mut small_now, mut large_now) = (0, 0, 0);
    let mut found = first;
    loop {
        // The last one is taken up first: deep before wide keeps what waits small.
        folders.extend(found.folders.into_iter().rev());
        for file in found.files {
            if S::is_large(&file) { large.push_back(file) } else { small.push_back(file) }
        }
        if report.is_stopped() {
            (folders, small, large) = (Vec::new(), VecDeque::new(), VecDeque::new());
        }
        while folders_now < FOLDERS_AT_ONCE && small.len() + large.len() < WAITING_MAX {
            let Some(folder) = folders.pop() else { break };
            let side = side.clone();
            running.spawn(async move { Ended::Folder(side.folder(folder).await) });
            folders_now += 1;
        }
        while small_now < SMALL_AT_ONCE
            && let Some(file) = small.pop_front()
        {
            let side = side.clone();
            running.spawn(async move {
                side.file(file).await;
                Ended::Small
            });
            small_now += 1;
        }
        while large_now < LARGE_AT_ONCE
            && let Some(file) = large.pop_front()
        {
            let side = side.clone();
            running.spawn(async move {
                side.file(file).await;
                Ended::Large
            });
            large_now += 1;
        }
        found = Found::default();
        match running.join_next().await {
            None => return,
            Some(Ok(Ended::Folder(more))) => {
                folders_now -= 1;
                found = more;
            }
            Some(Ok(Ended::Small)) => small_now -= 1,
            Some(Ok(Ended::Large)) => large_now -= 1,
            Some(Err(error)) => {
                report.stop(types::Error::internal(format_args!("a task of the transfer failed ({error})")));
            }
        }
    }
}
