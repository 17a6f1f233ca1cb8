//! The bounds and times that only this crate knows, beside those of [`types::limits`].

use std::time::Duration;
use types::limits::{CLIENT_WINDOW, INLINE_MAX, MIB, PIECE};

/// Ranges of a read in flight.
pub(crate) const READ_WINDOW: usize = 8;
/// Lookups remembered; beyond it what is old goes, then everything.
pub(crate) const LOOKUPS_MAX: usize = 4096;
/// The first pause before trying again.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Pauses double up to this.
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// How long the name manager may hold a question for a pair's new acting member.
pub(crate) const SEEK_WAIT: Duration = Duration::from_secs(10);
/// A storage server may deny a file the name manager has, for so long: its row is still on the way.
pub(crate) const ROW_WAIT: Duration = Duration::from_secs(5);
/// Servers that are dialled at once only to see whether they can be reached.
pub(crate) const REACHED_AT_ONCE: usize = 16;
/// A reader that takes what is stale asks another member after this long.
pub(crate) const STALE_PATIENCE: Duration = Duration::from_secs(1);
/// How often a range with a wrong checksum is read again before the data counts as damaged.
pub(crate) const CRC_TRIES: u32 = 3;
/// How often a full window asks whether the partner has got further.
pub(crate) const WINDOW_POLL: Duration = Duration::from_millis(10);
/// How often a server is told of an upload whose source has nothing to give just now.
pub(crate) const SOURCE_WAIT: Duration = Duration::from_secs(5);
/// Bytes of a local source that are handed on at once.
pub(crate) const SOURCE_READ: usize = MIB;
/// Blocks a local source may be ahead of the window.
pub(crate) const SOURCE_AHEAD: usize = 4;
/// An unused client id is changed for a new one after this long, well before the cluster may forget it.
pub(crate) const CLIENT_ID_IDLE: Duration = Duration::from_secs(20 * 60);
/// The largest file that can be appended to, in bytes: an append rewrites the file.
pub(crate) const APPEND_MAX: u64 = 64 * MIB as u64;
/// Best-effort goodbyes to a server.
pub(crate) const ABORT_WAIT: Duration = Duration::from_secs(1);
/// Files in one page of an inventory whose bytes are all read.
pub(crate) const VERIFY_PAGE: u32 = 64;
/// Files in one page of an inventory, rows in one page of the index.
pub(crate) const FSCK_PAGE: u32 = 256;
/// How long a member may take over a page whose bytes are all read.
pub(crate) const VERIFY_WAIT: Duration = Duration::from_secs(600);
/// A capability for a scrub is renewed after this long, well before its end.
pub(crate) const SCRUB_RENEW: Duration = Duration::from_secs(20);
/// Before a member that did not answer a scrub is asked again.
pub(crate) const SCRUB_PAUSE: Duration = Duration::from_millis(300);
/// How long a member may take over a page of a scrub: repairs included.
pub(crate) const SCRUB_WAIT: Duration = Duration::from_secs(600);

const _: () = {
    assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis());
    assert!(SOURCE_READ.is_multiple_of(PIECE), "a block of a source is whole pieces");
    assert!(READ_WINDOW * PIECE <= CLIENT_WINDOW);
    assert!(STALE_PATIENCE.as_secs() < types::limits::HELLO_TIMEOUT.as_secs());
    assert!(INLINE_MAX <= PIECE);
    assert!(SCRUB_RENEW.as_secs() * 2 <= types::limits::CAPABILITY_TTL.as_secs());
    assert!(SOURCE_WAIT.as_secs() < types::limits::SESSION_IDLE.as_secs());
    assert!(CLIENT_ID_IDLE.as_secs() < types::limits::CLIENT_IDLE.as_secs());
};
