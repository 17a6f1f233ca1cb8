//! Other inputs from those that are kept, after libFuzzer's mutations, which need a nightly compiler.

use crate::input::{Input, put_record};
use crate::numbers;
use crate::wire::{self, Value};
use crate::{Shape, Target};
use fastrand::Rng;

/// Numbers at which something may turn over.
const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64,
    u64::MAX,
];

/// An input for `target`, made from those of its corpus; now and then one from nothing.
pub fn draw(random: &mut Rng, corpus: &[Vec<u8>], target: &Target) -> Vec<u8> {
    let mut bytes = match corpus {
        [] => noise(random, target.longest),
        _ if random.u8(..) < 8 => noise(random, target.longest),
        _ => corpus[random.usize(0..corpus.len())].clone(),
    };
    for _ in 0..=random.usize(0..4) {
        match random.u8(0..5) {
            0 => number(random, &mut bytes, target),
            1 | 2 => shaped(random, &mut bytes, target),
            _ => mutate(random, &mut bytes, corpus),
        }
    }
    bytes.truncate(target.longest);
    bytes
}

/// A number, wherever it stands, is put at one of its ends.
fn number(random: &mut Rng, bytes: &mut Vec<u8>, target: &Target) {
    let count = numbers::count(target, bytes);
    if count > 0 {
        let end = numbers::ENDS[random.usize(0..numbers::ENDS.len())];
        *bytes = numbers::set(target, bytes, random.usize(0..count), end);
    }
}

/// Changes an input and leaves it of the shape of its target; one that is not stays as it is.
pub fn shaped(random: &mut Rng, bytes: &mut Vec<u8>, target: &Target) {
    if random.u8(0..3) == 0 {
        return number(random, bytes, target);
    }
    match target.shape {
        Shape::Bytes => {}
        Shape::Message(skip) => behind(bytes, skip, |rest| message(random, rest, DEPTH)),
        Shape::Journal(skip) => behind(bytes, skip, |rest| journal(random, rest)),
        Shape::Messages(skip, inner) => {
            let change = |random: &mut Rng, record: &mut Vec<u8>| {
                behind(record, inner, |rest| message(random, rest, DEPTH));
            };
            behind(bytes, skip, |rest| records(random, rest, change));
        }
        Shape::Journals => records(random, bytes, journal),
    }
}

/// How deep messages within messages are changed.
const DEPTH: u32 = 5;

fn behind(bytes: &mut Vec<u8>, skip: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let mut rest = bytes.split_off(skip.min(bytes.len()));
    change(&mut rest);
    bytes.append(&mut rest);
}

/// One record is changed, goes, stands twice, or in another place.
fn records(random: &mut Rng, bytes: &mut Vec<u8>, change: impl FnOnce(&mut Rng, &mut Vec<u8>)) {
    let mut records = Input(bytes).records();
    if records.is_empty() {
        return;
    }
    let at = random.usize(0..records.len());
    match random.u8(0..8) {
        0 => drop(records.remove(at)),
        1 => records.insert(random.usize(0..=at), records[at].clone()),
        2 => records.swap(at, random.usize(0..at + 1)),
        _ => change(random, &mut records[at].1),
    }
    bytes.clear();
    for (kind, record) in records {
        put_record(bytes, kind, &record[..record.len().min(u16::MAX.into())]);
    }
}

/// The message in a record of the journal is changed, and its length is right again.
fn journal(random: &mut Rng, bytes: &mut Vec<u8>) {
    let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return };
    let (head, tail) = rest.split_at(rest.len().min(u32::from_le_bytes(*len) as usize));
    let mut head = head.to_vec();
    message(random, &mut head, DEPTH);
    *bytes = [&(head.len() as u32).to_le_bytes()[..], &head, tail].concat();
}

/// One field of a message, or of one within it, is changed, goes, or stands twice.
fn message(random: &mut Rng, bytes: &mut Vec<u8>, depth: u32) {
    let Some(mut fields) = wire::fields(bytes).filter(|fields| !fields.is_empty()) else { return };
    let at = random.usize(0..fields.len());
    match random.u8(0..10) {
        0 => drop(fields.remove(at)),
        1 => fields.insert(random.usize(0..=at), fields[at].clone()),
        2 => fields[at].0 = random.u64(1..32),
        _ => value(random, &mut fields[at].1, depth),
    }
    *bytes = wire::message(&fields);
}

fn value(random: &mut Rng, value: &mut Value, depth: u32) {
    let mut number = || match random.u8(0..3) {
        0 => random.u64(0..20),
        _ => EXTREMES[random.usize(0..EXTREMES.len())].wrapping_add(random.u64(0..3)).wrapping_sub(1),
    };
    match value {
        Value::Varint(old) => *old = number(),
        Value::Fixed64(old) => *old = number().to_le_bytes(),
        Value::Fixed32(old) => *old = (number() as u32).to_le_bytes(),
        Value::Bytes(inner) if depth > 0 && random.u8(0..4) > 0 && wire::fields(inner).is_some() => {
            message(random, inner, depth - 1);
        }
        Value::Bytes(bytes) => match random.u8(0..4) {
            0 => bytes.clear(),
            1 => *bytes = vec![random.u8(..); [1, 8, 16, 32, 33, 255, 256][random.usize(0..7)]],
            _ => mutate(random, bytes, &[]),
        },
    }
}

fn noise(random: &mut Rng, longest: usize) -> Vec<u8> {
    (0..random.usize(0..longest.min(128))).map(|_| random.u8(..)).collect()
}

fn mutate(random: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    if bytes.is_empty() {
        bytes.push(random.u8(..));
        return;
    }
    let at = random.usize(0..bytes.len());
    match random.u8(0..10) {
        0 | 1 => bytes[at] ^= 1 << random.u8(0..8),
        2 => bytes[at] = random.u8(..),
        3 => bytes.truncate(at),
        // What stands here stands here several times.
        4 => {
            let end = bytes.len().min(at + random.usize(1..40));
            let part = bytes[at..end].repeat(random.usize(1..6));
            bytes.splice(at..at, part);
        }
        5 => {
            let end = bytes.len().min(at + random.usize(1..40));
            bytes.drain(at..end);
        }
        6 => extreme(random, bytes, at),
        7 => {
            let mut number = Vec::new();
            wire::put_varint(&mut number, EXTREMES[random.usize(0..EXTREMES.len())]);
            let end = bytes.len().min(at + random.usize(0..3));
            bytes.splice(at..end, number);
        }
        8 => {
            let noise: Vec<u8> = (0..random.usize(1..20)).map(|_| random.u8(..)).collect();
            bytes.splice(at..at, noise);
        }
        // The end of another one.
        _ if !corpus.is_empty() => {
            let other = &corpus[random.usize(0..corpus.len())];
            let from = random.usize(0..=other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => bytes.push(random.u8(..)),
    }
}

/// A number of one, two, four or eight bytes, little-endian, becomes one at which something may turn over, or one beside it.
fn extreme(random: &mut Rng, bytes: &mut [u8], at: usize) {
    let width = [1, 2, 4, 8][random.usize(0..4)].min(bytes.len() - at);
    let number = EXTREMES[random.usize(0..EXTREMES.len())].wrapping_add(random.u64(0..3)).wrapping_sub(1);
    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
}
