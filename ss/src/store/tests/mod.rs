//! The store on a simulated disk, with an index that loses what it did not sync.

mod collect;
mod compact;
mod contents;
mod crash;
mod damaged_index;
mod doubt;
mod rows;
mod salvage;
mod scrub;
mod support;
mod upkeep;
