//! The name manager as a whole, with storage servers that hold no bytes.

mod fake;
mod house;
mod story;
