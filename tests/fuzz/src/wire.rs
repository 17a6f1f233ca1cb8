//! Protocol buffers without their types: fields as they stand in the bytes, and messages with every field that a type has.

/// The number of a field and its value.
pub type Field = (u64, Value);

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, in as few bytes as it needs.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// Four bytes.
    Fixed32([u8; 4]),
    /// A text, bytes, a list of numbers, or a message.
    Bytes(Vec<u8>),
}

/// Appends a number.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn fixed<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

/// The fields of a message; none if the bytes are no message.
pub fn fields(mut bytes: &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Fixed64(fixed(&mut bytes)?),
            5 => Value::Fixed32(fixed(&mut bytes)?),
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(len)?;
                bytes = rest;
                Value::Bytes(value.to_vec())
            }
            _ => return None,
        };
        fields.push((key >> 3, value));
    }
    Some(fields)
}

/// The bytes of a message.
pub fn message(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, value) in fields {
        let wire = match value {
            Value::Varint(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Fixed32(_) => 5,
        };
        put_varint(&mut out, number << 3 | wire);
        match value {
            Value::Varint(number) => put_varint(&mut out, *number),
            Value::Fixed64(bytes) => out.extend_from_slice(bytes),
            Value::Fixed32(bytes) => out.extend_from_slice(bytes),
            Value::Bytes(bytes) => {
                put_varint(&mut out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
        }
    }
    out
}

/// A message with every field that its type has, found by trying: what a type does not have is not written again by
/// `reread`. Messages within it have theirs, `depth` deep.
pub fn fullest(reread: &dyn Fn(&[u8]) -> Option<Vec<u8>>, depth: u32) -> Vec<u8> {
    const FIELDS: u64 = 40;
    let (mut full, mut len) = (Vec::new(), reread(&[]).map_or(0, |bytes| bytes.len()));
    for number in 1..=FIELDS {
        let values = [
            Value::Varint(1),
            Value::Fixed64([1; 8]),
            Value::Fixed32([1; 4]),
            Value::Bytes(b"a".to_vec()),
            Value::Bytes(Vec::new()),
        ];
        for value in values {
            let is_message = value == Value::Bytes(Vec::new());
            let with = |value: Value| [&full[..], &message(&[(number, value)])].concat();
            let Some(longer) = reread(&with(value.clone())).map(|bytes| bytes.len()).filter(|new| *new > len)
            else {
                continue;
            };
            (full, len) = match is_message && depth > 0 {
                true => {
                    let inner = fullest(&|inner| reread(&with(Value::Bytes(inner.to_vec()))), depth - 1);
                    let whole = with(Value::Bytes(inner));
                    let len = reread(&whole).map_or(longer, |bytes| bytes.len());
                    (whole, len)
                }
                false => (with(value), longer),
            };
            break;
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use types::record::{Record, Row, Subject};

    #[test]
    fn a_message_is_taken_apart_and_put_together() {
        let record =
            Record { id: 7, name: "n".into(), versions: vec![Default::default()], ..Record::default() };
        let bytes = Row { seq: u64::MAX, subject: Some(Subject::Record(record)) }.encode_to_vec();
        assert_eq!(message(&fields(&bytes).unwrap()), bytes);
        assert_eq!(fields(&[0x08]), None);
        assert_eq!(fields(&[0x0a, 5, 1]), None);
    }

    #[test]
    fn the_fullest_message_has_what_its_type_has() {
        let reread = |bytes: &[u8]| Record::decode(bytes).ok().map(|record| record.encode_to_vec());
        let record = Record::decode(&fullest(&reread, 3)[..]).unwrap();
        assert!(
            record.id == 1 && record.name == "a" && record.versions.len() == 1 && record.trashed.is_some()
        );
        assert_eq!(record.versions[0].holder, "a");
    }
}
