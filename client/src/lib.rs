//! The client library: open, read, write, retry, placement cache.
