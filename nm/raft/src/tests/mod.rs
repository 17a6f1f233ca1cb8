//! Tests across the files of this crate.

mod crash;
mod suite;
mod support;
mod truncate;
