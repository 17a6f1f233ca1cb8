//! The bounds that only this crate knows, beside those of [`types::limits`], and how they relate.

use std::time::Duration;
use types::limits::{CLIENT_WINDOW, CONN_MAX, FRAME_HEAD_MAX, FRAME_MAX, HELLO_TIMEOUT, KIB, MIB, PIECE};

/// Bodies up to this many bytes are covered by the checksum of their frame unless asked otherwise; larger
/// ones carry checksums of their own.
pub const BODY_CHECKED_MAX: usize = 64 * KIB;
/// The largest frame before the peer has proved who it is, in bytes.
pub const HELLO_FRAME_MAX: usize = 16 * KIB;
/// The largest ticket, in bytes.
pub const TICKET_MAX: usize = 8 * KIB;
/// The longest name, key id or boot id in a hello, in bytes.
pub const HELLO_NAME_MAX: usize = 255;
/// Connections of one server that have not proved themselves yet.
pub const HANDSHAKES_MAX: usize = 512;
/// The longest message of a failure that is sent or believed, in bytes.
pub const FAILURE_MESSAGE_MAX: usize = 4 * KIB;

/// Bytes that wait to be written on one connection; who wants to send more waits.
pub const OUT_BYTES: usize = 4 * MIB;
/// Frame parts up to this many bytes are copied together; larger ones are written from where they lie.
pub const COALESCE_MAX: usize = 16 * KIB;
/// About how many bytes one write takes.
pub const BATCH_BYTES: usize = MIB;
/// The most slices of one vectored write.
pub const BATCH_SLICES: usize = 64;
/// Bytes of requests of one connection that a server works on; beyond it stops reading.
pub const REQUEST_BYTES: usize = CLIENT_WINDOW + MIB;
/// Pushes that wait to be written to one client; one more closes the connection.
pub const PUSH_DEPTH: usize = 1024;
/// Bytes of pushes that wait to be written to one client; more closes the connection.
pub const PUSH_BYTES: usize = 8 * MIB;
/// Pushes that a client's subscriber may be behind; one more closes the connection.
pub const PUSH_BACKLOG: usize = 256;
/// Requests answered at once, one after the other, before other tasks get a turn.
pub const INLINE_BURST: u32 = 64;
/// Room made in the receive buffer for one read, in bytes.
pub const READ_CHUNK: usize = 64 * KIB;
/// Bodies of at least so many bytes are read into a buffer of their own.
pub const BULK_MIN: usize = 32 * KIB;
/// After such a body so few bytes are read at once: the next header and head, and little of the next body,
/// which has to be copied.
pub const READ_AFTER_BULK: usize = 2 * KIB;
/// Large buffers kept for their next use, all connections together.
pub const BUFFERS_KEPT: usize = 64;

/// How long a server that stops waits for the calls it works on.
pub const DRAIN_MAX: Duration = Duration::from_secs(2);
/// How long a closing connection may take for its last words.
pub const LINGER_MAX: Duration = Duration::from_secs(1);
/// How long a server rests when the system has no socket for it.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How often it says so.
pub const ACCEPT_TELL: Duration = Duration::from_secs(5);
/// The first pause before dialling again; it doubles up to [`types::limits::RECONNECT_MAX`].
pub const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// How long one address of a name may be silent before the next is tried beside it.
pub const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Silence after which the system asks whether the other host still knows the connection: one that was switched off and
/// is back does not, and whoever waits for its answer would wait in vain.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(3);
/// The pause between two such questions, of which three may stay unanswered.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
/// Bytes sent and not acknowledged for this long end the connection.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a new secret.
pub const SECRET_BYTES: usize = 32;
/// The fewest bytes a secret may have.
pub const SECRET_MIN: usize = 16;
/// The most bytes a secret may have.
pub const SECRET_MAX: usize = KIB;

const _: () = {
    assert!(4 * NEXT_ADDRESS.as_millis() < HELLO_TIMEOUT.as_millis(), "several addresses get their chance");
    assert!(OUT_BYTES >= 2 * FRAME_MAX, "one frame is written while the next is made");
    assert!(REQUEST_BYTES >= FRAME_MAX, "the largest request fits");
    assert!(REQUEST_BYTES >= CLIENT_WINDOW, "a client's window fits one connection");
    assert!(PUSH_BYTES >= FRAME_MAX, "the largest push fits");
    assert!(OUT_BYTES < u32::MAX as usize);
    assert!(REQUEST_BYTES < u32::MAX as usize);
    assert!(HELLO_FRAME_MAX < FRAME_MAX && HELLO_FRAME_MAX <= FRAME_HEAD_MAX);
    assert!(TICKET_MAX + 4 * HELLO_NAME_MAX + KIB <= HELLO_FRAME_MAX, "any hello fits its frame");
    assert!(HANDSHAKES_MAX < CONN_MAX, "strangers cannot take all connections");
    assert!(FAILURE_MESSAGE_MAX + 64 < HELLO_FRAME_MAX, "a refusal fits the handshake");
    assert!(BODY_CHECKED_MAX <= PIECE);
    assert!(BUFFERS_KEPT * PIECE <= CLIENT_WINDOW, "what is kept is small beside what may be in flight");
    assert!(READ_AFTER_BULK < BULK_MIN && BULK_MIN <= PIECE);
    assert!(COALESCE_MAX <= BATCH_BYTES && BATCH_SLICES >= 4);
    assert!(SECRET_MIN <= SECRET_BYTES && SECRET_BYTES <= SECRET_MAX);
};
