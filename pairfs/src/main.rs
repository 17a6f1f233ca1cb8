//! The pairfs program.
fn main() {}
