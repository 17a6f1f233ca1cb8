//! The operations, a file each: check, do, answer.

pub mod abort;
pub mod apply;
pub mod aside;
pub mod bring;
pub mod commit;
pub mod compare;
pub mod copy;
pub mod get_bytes;
pub mod get_manifest;
pub mod get_many;
pub mod inventory;
pub mod let_go;
pub mod look_at;
pub mod offer;
pub mod open_session;
pub mod pass_abort;
pub mod pass_piece;
pub mod pass_prepare;
pub mod piece;
pub mod probe;
pub mod read;
pub mod scrub;
pub mod survey;
