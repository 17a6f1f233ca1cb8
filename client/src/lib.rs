//! The client library: read, write and look after the files of a PairFS cluster.
//!
//! ```no_run
//! # extern crate pairfs_client as client;
//! # async fn example() -> types::Result<()> {
//! use client::{Client, ClientConfig, Content, ReadOptions, WriteOptions};
//!
//! let config = ClientConfig::with_key_file(vec!["127.0.0.1:7400".into()], "admin.key".as_ref())?;
//! let client = Client::connect(config).await?;
//! let receipt = client.write("/notes.txt", Content::from("hello"), &WriteOptions::default()).await?;
//! println!("{}", receipt.version);
//! let mut reader = client.read("/notes.txt", &ReadOptions::default()).await?;
//! while let Some(bytes) = reader.next().await? {
//!     println!("{} bytes", bytes.len());
//! }
//! # Ok(()) }
//! ```
//!
//! A [`Client`] waits out what passes by itself. When a storage server is lost it learns of the new acting
//! member by push, goes there and repeats what it asked under the same request key, so that its user sees a
//! pause and no error. Only after its timeout does it give up: with [`types::Code::OutcomeUnknown`] and the
//! request key if a change may have happened, else with what it met last.
//!
//! | room | job |
//! |---|---|
//! | [`Client`] | what a user asks |
//! | `manager` | the connection to the name manager; who acts in each pair (`places`) |
//! | `servers` | connections to storage servers, by ticket |
//! | `lookup` | path → file, pair and capability, remembered for at most a second |
//! | `retry`, `keys`, `ask` | when to try again, and how a repeated request is recognised |
//! | `read`, `write` | content: several ranges in flight; a window of pieces not yet on both members |
//! | [`fsck`] | the index and both copies, compared |
//! | [`aside`] | what servers have set aside, and its end |
//! | [`risk`] | which files are at risk, and why |
//! | [`scrub`] | both copies compared with their digests, and repaired from each other |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod aside;
mod ask;
mod bounds;
mod call;
mod client;
mod cluster;
mod config;
mod core;
pub mod fsck;
mod info;
mod keys;
mod list;
mod lookup;
mod manager;
mod namespace;
mod places;
mod range;
mod read;
mod retry;
pub mod risk;
pub mod scrub;
mod servers;
mod usage;
mod write;

pub use client::Client;
pub use config::{ClientConfig, Identity, Secret};
pub use info::{Copy, Info};
pub use list::{Listing, sort_name};
pub use namespace::{Attributes, MakeOptions, MoveOptions, RemoveOptions};
pub use range::Range;
pub use read::{ReadOptions, Reader};
pub use types::ids::RequestKey;
pub use types::message::store::Durability;
pub use usage::Usage;
pub use write::{Content, CopyOptions, Receipt, WriteOptions};
