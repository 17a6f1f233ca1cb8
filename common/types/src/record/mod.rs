//! What is stored and replicated: records of files and folders, their versions, manifests, and the
//! control records (pairs, servers, users). The same shapes are on disk, in the feed and on the wire:
//! protocol buffers written by hand, which evolve both ways.

mod entry;
mod event;
mod pair;
mod row;
mod server;
mod version;

pub use entry::{Grant, Kind, Record, Trashed};
pub use event::{Event, Number};
pub use pair::{Pair, Phase};
pub use row::{Row, Subject, User};
pub use server::{Damage, ImportProgress, Server};
pub use version::{ChunkRef, Manifest, Version, mark, on};
