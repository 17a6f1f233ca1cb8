//! What became of a command.

use crate::error::{Code, Error, Result};
use crate::record::{Pair, Record, Server, Version};
use prost::Message;

/// A place in a feed that somebody may want to wait for.
#[derive(Clone, PartialEq, Message)]
pub struct FeedPlace {
    /// Feed.
    #[prost(uint32, tag = "1")]
    pub feed: u32,
    /// Row.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// What became of a command.
#[derive(Clone, PartialEq, Message)]
pub struct Answer {
    /// 0: done; else [`Code`].
    #[prost(uint32, tag = "1")]
    pub code: u32,
    /// What happened: what to do next.
    #[prost(string, tag = "2")]
    pub message: String,
    /// The file or folder it made or changed, after the change.
    #[prost(message, optional, tag = "3")]
    pub record: Option<Record>,
    /// The version it made.
    #[prost(message, optional, tag = "4")]
    pub version: Option<Version>,
    /// Rows it made.
    #[prost(message, repeated, tag = "5")]
    pub rows: Vec<FeedPlace>,
    /// The server after the change.
    #[prost(message, optional, tag = "6")]
    pub server: Option<Server>,
    /// The pair after the change.
    #[prost(message, optional, tag = "7")]
    pub pair: Option<Pair>,
    /// It was answered from a stored result: nothing was executed again.
    #[prost(bool, tag = "8")]
    pub repeated: bool,
    /// Of a command that does a slice at a time: there is more to do.
    #[prost(bool, tag = "9")]
    pub more: bool,
}

impl Answer {
    /// A refusal.
    pub fn refused(error: Error) -> Answer {
        Answer { code: error.code.number(), message: error.message, ..Answer::default() }
    }

    /// The answer, or the refusal as an error whose effect surely did not happen.
    pub fn into_result(self) -> Result<Answer> {
        match self.code {
            0 => Ok(self),
            code => Err(Error {
                code: Code::from_number(code),
                message: self.message,
                effect: crate::error::Effect::None,
            }),
        }
    }
}

/// The answers to a batch, in its order.
#[derive(Clone, PartialEq, Message)]
pub struct Answers {
    /// One for each command.
    #[prost(message, repeated, tag = "1")]
    pub answers: Vec<Answer>,
}
