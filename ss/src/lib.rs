//! The shell of a storage server: log, index, sessions, partner.
