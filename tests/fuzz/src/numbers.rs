//! Every number that stands in the messages of an input, wherever it stands: each can be put at its end.

use crate::input::{Input, put_record};
use crate::wire::{self, Value};
use crate::{Shape, Target};

/// What a number is replaced by: where something may turn over.
pub const ENDS: [u64; 5] = [0, 1, u32::MAX as u64, i64::MAX as u64, u64::MAX];

/// How many numbers there are in an input of `target`.
pub fn count(target: &Target, input: &[u8]) -> usize {
    let mut count = 0;
    visit(&mut input.to_vec(), target.shape, &mut |_| count += 1);
    count
}

/// The input with another number in the place of the `which`-th; lengths fit again.
pub fn set(target: &Target, input: &[u8], which: usize, number: u64) -> Vec<u8> {
    let (mut bytes, mut at) = (input.to_vec(), 0);
    visit(&mut bytes, target.shape, &mut |old| {
        if at == which {
            *old = number;
        }
        at += 1;
    });
    bytes
}

type Visit<'v> = &'v mut dyn FnMut(&mut u64);

fn visit(bytes: &mut Vec<u8>, shape: Shape, look: Visit<'_>) {
    match shape {
        Shape::Bytes => {}
        Shape::Message(skip) => behind(bytes, skip, |rest| message(rest, look)),
        Shape::Journal(skip) => behind(bytes, skip, |rest| journal(rest, look)),
        Shape::Messages(skip, inner) => behind(bytes, skip, |rest| {
            records(rest, |record| behind(record, inner, |rest| message(rest, look)));
        }),
        Shape::Journals => records(bytes, |record| journal(record, look)),
    }
}

fn behind(bytes: &mut Vec<u8>, skip: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let mut rest = bytes.split_off(skip.min(bytes.len()));
    change(&mut rest);
    bytes.append(&mut rest);
}

fn records(bytes: &mut Vec<u8>, mut change: impl FnMut(&mut Vec<u8>)) {
    let mut out = Vec::new();
    for (kind, mut record) in Input(bytes).records() {
        change(&mut record);
        put_record(&mut out, kind, &record[..record.len().min(u16::MAX.into())]);
    }
    *bytes = out;
}

/// The length of a message, the message, a tail.
fn journal(bytes: &mut Vec<u8>, look: Visit<'_>) {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return };
    let (head, tail) = rest.split_at(rest.len().min(u32::from_le_bytes(*len) as usize));
    let mut head = head.to_vec();
    message(&mut head, look);
    *bytes = [&(head.len() as u32).to_le_bytes()[..], &head, tail].concat();
}

fn message(bytes: &mut Vec<u8>, look: Visit<'_>) {
    let Some(mut fields) = wire::fields(bytes) else { return };
    for (_, value) in &mut fields {
        match value {
            Value::Varint(number) => look(number),
            Value::Fixed64(bytes) => {
                let mut number = u64::from_le_bytes(*bytes);
                look(&mut number);
                *bytes = number.to_le_bytes();
            }
            Value::Fixed32(bytes) => {
                let mut number = u32::from_le_bytes(*bytes).into();
                look(&mut number);
                *bytes = (number as u32).to_le_bytes();
            }
            Value::Bytes(inner) => message(inner, look),
        }
    }
    *bytes = wire::message(&fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named;
    use prost::Message;
    use types::record::{Record, Row, Subject};

    #[test]
    fn each_number_of_a_message_can_be_put_at_its_end() {
        let record = Record { id: 7, seq: 9, name: "n".into(), ..Record::default() };
        let row = Row { seq: 5, subject: Some(Subject::Record(record)) };
        let input = [&[0; 3][..], &row.encode_to_vec()].concat();
        let target = named("message");
        assert_eq!(count(target, &input), 3);
        let Ok(Row { seq: 5, subject: Some(Subject::Record(changed)) }) =
            Row::decode(&set(target, &input, 2, u64::MAX)[3..])
        else {
            panic!("another number was set");
        };
        assert_eq!((changed.id, changed.seq), (7, u64::MAX));
        assert_eq!(set(target, &input, 9, 1), input);
    }
}
