//! Events, for operators.

use prost::Message;

/// Something an operator wants to know, as `pairfs events` shows it.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Its number; increasing.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// Log time, ms since 1970.
    #[prost(uint64, tag = "2")]
    pub time_ms: u64,
    /// What happened: `registered`, `suspect`, `failed`, `promoted`, `recovering`, `caught-up`, `restored`, …
    #[prost(string, tag = "3")]
    pub kind: String,
    /// Server it is about, or empty.
    #[prost(string, tag = "4")]
    pub server: String,
    /// Pair it is about, or empty.
    #[prost(string, tag = "5")]
    pub pair: String,
    /// Why, for people.
    #[prost(string, tag = "6")]
    pub reason: String,
    /// The pair's epoch after it; 0 if it is about no pair.
    #[prost(uint64, tag = "7")]
    pub epoch: u64,
    /// Numbers that belong to it (`rows_missed`, `rows_resent`, `owed`, …).
    #[prost(message, repeated, tag = "8")]
    pub numbers: Vec<Number>,
}

/// A named number of an event.
#[derive(Clone, PartialEq, Message)]
pub struct Number {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(uint64, tag = "2")]
    pub value: u64,
}
