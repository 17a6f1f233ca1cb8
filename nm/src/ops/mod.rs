//! One operation a file: what it checks, what it reads or proposes, what it answers.

pub(crate) mod attach;
pub(crate) mod complete;
pub(crate) mod damage;
pub(crate) mod entries;
pub(crate) mod events;
pub(crate) mod files;
pub(crate) mod force_promote;
pub(crate) mod heartbeat;
pub(crate) mod import;
pub(crate) mod leave;
pub(crate) mod list;
pub(crate) mod locate;
pub(crate) mod records;
pub(crate) mod recovered;
pub(crate) mod register;
pub(crate) mod relay;
pub(crate) mod resolve;
pub(crate) mod stand;
pub(crate) mod status;
pub(crate) mod switchover;
pub(crate) mod ticket;
pub(crate) mod upload;
pub(crate) mod whereabouts;
