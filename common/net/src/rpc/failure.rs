//! An error on the wire: the head of a Failure frame.

use crate::bounds::FAILURE_MESSAGE_MAX;
use bytes::Bytes;
use prost::Message;
use types::{Code, Effect, Error};

#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(uint32, tag = "1")]
    code: u32,
    #[prost(string, tag = "2")]
    message: String,
    /// Whether the effect may have happened all the same.
    #[prost(bool, tag = "3")]
    effect_unknown: bool,
}

/// The head that carries `error`; a long message is cut.
pub(crate) fn encode(error: &Error) -> Bytes {
    let message = clean(&error.message);
    let effect_unknown = error.effect == Effect::Unknown;
    Failure { code: error.code.number(), message, effect_unknown }.encode_to_vec().into()
}

/// The error in a head. What does not decode is an error too, of unknown effect.
pub(crate) fn decode(head: Bytes) -> Error {
    match Failure::decode(head) {
        Ok(failure) => Error {
            code: Code::from_number(failure.code),
            message: clean(&failure.message),
            effect: if failure.effect_unknown { Effect::Unknown } else { Effect::None },
        },
        Err(error) => {
            Error::bad_request(format_args!("a failure that does not decode ({error})")).outcome_unknown()
        }
    }
}

/// A peer's words may end on a terminal: one line, no control characters, not endless.
fn clean(message: &str) -> String {
    let mut text = String::with_capacity(message.len().min(FAILURE_MESSAGE_MAX));
    for c in message.chars() {
        if text.len() + c.len_utf8() > FAILURE_MESSAGE_MAX {
            break;
        }
        text.push(if c.is_control() { ' ' } else { c });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_arrives_as_it_was_with_its_effect() {
        for code in Code::ALL {
            let error = Error::new(*code, "what", "next");
            assert_eq!(decode(encode(&error)), error);
            assert_eq!(decode(encode(&error.clone().outcome_unknown())), error.outcome_unknown());
        }
    }

    #[test]
    fn a_peer_cannot_write_on_the_terminal_or_fill_the_memory() {
        let error = Error::new(Code::Failed, "\x1b[2Jé".repeat(FAILURE_MESSAGE_MAX), "x");
        let decoded = decode(encode(&error));
        assert!(decoded.message.len() <= FAILURE_MESSAGE_MAX);
        assert!(!decoded.message.chars().any(char::is_control));
        assert_eq!(decode(Bytes::from_static(&[0xff; 9])).effect, Effect::Unknown);
    }
}
