//! Tests across the files of this crate.

mod crash;
mod damage;
mod images;
mod suite;
mod support;
mod truncate;
