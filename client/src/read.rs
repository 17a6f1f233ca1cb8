//! Reading: one version, several ranges in flight, in order to the reader.

use crate::bounds::{CRC_TRIES, READ_WINDOW, ROW_WAIT, STALE_PATIENCE};
use crate::call::call;
use crate::core::{Core, parse};
use crate::lookup::{Found, Lookup};
use crate::range::Range;
use crate::retry::Retry;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use types::content::crc64;
use types::ids::VersionNumber;
use types::limits::PIECE;
use types::message::manager::Placement;
use types::message::store::{Read, ReadReply, ReadRequest};
use types::mutation::{self, Mutation};
use types::path::{PathName, Quoted};
use types::record::Version;
use types::{Code, Error, Result};

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Which bytes.
    pub range: Range,
    /// Which version; none: the head.
    pub version: Option<VersionNumber>,
    /// Also from a member that may not serve now: possibly old.
    pub stale_ok: bool,
}

/// The bytes of one version, in order. Whatever happens meanwhile they are of that version (I3): the first
/// answer decides which one it is. When a server is lost its partner goes on at the same place.
pub struct Reader {
    source: Arc<Source>,
    version: Version,
    /// Bytes that were not asked for yet.
    ahead: Ahead,
    first: Option<Bytes>,
    flights: VecDeque<Flight>,
}

/// Which bytes still have to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ahead {
    next: u64,
    end: u64,
}

impl Ahead {
    /// The next range to ask for, up to a multiple of the piece size so that servers find it whole.
    fn take(&mut self) -> Option<(u64, u32)> {
        let piece = PIECE as u64;
        let until = ((self.next / piece + 1) * piece).min(self.end);
        let len = until.checked_sub(self.next).filter(|len| *len > 0)?;
        let from = std::mem::replace(&mut self.next, until);
        Some((from, u32::try_from(len).unwrap_or(u32::MAX)))
    }
}

/// A range being read; given up when dropped.
struct Flight(JoinHandle<Result<Bytes>>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is read, from whom.
struct Source {
    core: Arc<Core>,
    path: PathName,
    stale_ok: bool,
}

/// Which part of which version.
#[derive(Clone, Copy)]
struct Part {
    version: VersionNumber,
    offset: u64,
    len: u32,
}

impl Reader {
    pub(crate) async fn open(core: Arc<Core>, path: &str, options: &ReadOptions) -> Result<Reader> {
        let source = Arc::new(Source { core, path: parse(path)?, stale_ok: options.stale_ok });
        let version = options.version.unwrap_or(VersionNumber::NONE);
        let (offset, len) = match options.range {
            Range::All => (0, PIECE as u32),
            Range::Between(from, to) => {
                (from, to.saturating_sub(from).saturating_add(1).min(PIECE as u64) as u32)
            }
            Range::From(from) => (from, PIECE as u32),
            // Where it begins is known only once the size is.
            Range::Last(_) => (0, 1),
        };
        let (version, body) = source.part(Part { version, offset, len }).await?;
        let (start, end) = options.range.within(version.size)?;
        let (first, next) = match options.range {
            Range::Last(_) => (None, start),
            _ => {
                let first = body.slice(..body.len().min((end - start) as usize));
                let next = start + first.len() as u64;
                (Some(first), next)
            }
        };
        let mut reader =
            Reader { source, version, ahead: Ahead { next, end }, first, flights: VecDeque::new() };
        reader.fill();
        Ok(reader)
    }

    /// The version that is read.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// After its timeout `UNAVAILABLE` and the like; `ONLY_COPY_AWAY` when the member that acts now lacks this
    /// version; `NO_SUCH_VERSION` when it is not kept any more; `DAMAGED`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Ok(Some(first));
        }
        let Some(flight) = self.flights.front_mut() else { return Ok(None) };
        let bytes = (&mut flight.0).await;
        self.flights.pop_front();
        self.fill();
        match bytes {
            Ok(bytes) => bytes.map(Some),
            Err(error) => Err(Error::internal(format_args!("a read task failed ({error})"))),
        }
    }

    /// All bytes that are left, at most `max`.
    ///
    /// # Errors
    /// As [`Reader::next`]; `UNSUPPORTED` when there are more.
    pub async fn to_end(&mut self, max: u64) -> Result<Bytes> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next().await? {
            if (all.len() + bytes.len()) as u64 > max {
                let what =
                    format_args!("{} has more than {max} bytes", Quoted(&self.source.path.to_string()));
                return Err(Error::new(Code::Unsupported, what, "read it in ranges"));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.into())
    }

    fn fill(&mut self) {
        while self.flights.len() < READ_WINDOW
            && let Some((offset, len)) = self.ahead.take()
        {
            let torn = mutation::is(Mutation::TornRead);
            let version = if torn { VersionNumber::NONE } else { self.version.version() };
            let source = self.source.clone();
            let part = Part { version, offset, len };
            self.flights.push_back(Flight(tokio::spawn(async move { source.whole_part(part).await })));
        }
    }
}

impl Source {
    /// A range of a version whose size is known: all of it, or an error.
    async fn whole_part(&self, part: Part) -> Result<Bytes> {
        let mut bytes = Vec::new();
        let mut left = part;
        loop {
            let (_, body) = self.part(left).await?;
            if body.len() == part.len as usize {
                return Ok(body);
            }
            if body.is_empty() {
                let what = format_args!("{} ends too early", Quoted(&self.path.to_string()));
                return Err(Error::new(Code::Damaged, what, "run `pairfs scrub`"));
            }
            bytes.extend_from_slice(&body);
            left.offset += body.len() as u64;
            left.len = left.len.saturating_sub(u32::try_from(body.len()).unwrap_or(u32::MAX));
            if left.len == 0 {
                return Ok(bytes.into());
            }
        }
    }

    /// One answer for `part`: the version it is of and some bytes, at most those asked for.
    async fn part(&self, part: Part) -> Result<(Version, Bytes)> {
        let core = &*self.core;
        let (mut retry, mut fresh, mut wrong, mut attempt) = (core.retry(), false, 0, 0);
        let started = Instant::now();
        loop {
            let Lookup { found, remembered } =
                core.lookups.for_reading(&core.manager, &self.path, fresh, &mut retry).await?;
            fresh = false;
            let answer = self.attempt(&found, part, &retry, attempt).await;
            attempt += 1;
            let error = match answer {
                Ok((reply, body)) => match check(reply, body, part) {
                    Ok(read) => return Ok(read),
                    Err(error) if wrong < CRC_TRIES && error.code == Code::Damaged => {
                        wrong += 1;
                        tracing::warn!(path = %self.path, part.offset, "a range arrived damaged");
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                Err(error) => error,
            };
            // The name manager decides what exists; the row may still be on its way to the server.
            if error.code == Code::NotFound && part.version.is_none() {
                if let Some(head) = found.empty.clone().filter(|_| !remembered) {
                    return Ok((head, Bytes::new()));
                }
                if remembered || started.elapsed() < ROW_WAIT.min(core.timeout) {
                    let again = Error::new(Code::Moved, &error.message, "");
                    core.after(again, found.target.pair, &self.path, &mut retry).await?;
                    fresh = true;
                    continue;
                }
            }
            fresh = core.after(error, found.target.pair, &self.path, &mut retry).await?;
        }
    }

    async fn attempt(
        &self,
        found: &Found,
        part: Part,
        retry: &Retry,
        attempt: usize,
    ) -> Result<(ReadReply, Bytes)> {
        let pair = found.target.pair;
        if self.stale_ok
            && let Some(placement) = self.stale_source(pair, attempt)
        {
            return self.ask_anyone(&placement, found, part, retry, attempt).await;
        }
        let read = async |connection: &_, epoch| {
            call::<Read>(
                connection,
                &request(found, part, epoch, self.stale_ok),
                Bytes::new(),
                retry.deadline(),
            )
            .await
        };
        let asked = self
            .core
            .at_acting(pair, retry, |acting| async move { read(&acting.connection, acting.epoch).await });
        if !self.stale_ok {
            return asked.await;
        }
        timeout(patience(attempt), asked).await.unwrap_or_else(|_| Err(silent("the acting server")))
    }

    /// Whether to ask a member that need not act: nobody acts, or the acting one failed already.
    fn stale_source(&self, pair: u32, attempt: usize) -> Option<Arc<Placement>> {
        let known = self.core.manager.places().watch(pair).borrow().clone()?;
        (attempt > 0 || crate::places::acting(&known).is_none()).then_some(known)
    }

    async fn ask_anyone(
        &self,
        placement: &Placement,
        found: &Found,
        part: Part,
        retry: &Retry,
        attempt: usize,
    ) -> Result<(ReadReply, Bytes)> {
        let members: Vec<_> = placement.members.iter().filter(|member| !member.addr.is_empty()).collect();
        let Some(member) = members.get(attempt % members.len().max(1)) else {
            let what = format_args!("no member of {} is known by address", placement.name);
            return Err(Error::new(Code::Unavailable, what, "see `pairfs status`"));
        };
        // Who does not answer soon is passed over: the other one may.
        let deadline = retry.deadline().min(Instant::now() + patience(attempt));
        let asked = async {
            let connection = self.core.servers.get(&self.core.manager, member, deadline).await?;
            let request = request(found, part, placement.epoch, true);
            call::<Read>(&connection, &request, Bytes::new(), deadline).await
        };
        timeout_at(deadline, asked).await.unwrap_or_else(|_| Err(silent(&member.name)))
    }
}

/// How long one member is waited for by a reader whom any will do: longer each time both were silent.
fn patience(attempt: usize) -> Duration {
    let rounds = u32::try_from(attempt / 2).unwrap_or(u32::MAX).min(8);
    (STALE_PATIENCE * 2u32.pow(rounds)).min(types::limits::HELLO_TIMEOUT)
}

fn silent(who: &str) -> Error {
    Error::new(Code::Timeout, format_args!("{who} does not answer"), "see `pairfs doctor`")
}

fn request(found: &Found, part: Part, epoch: u64, stale_ok: bool) -> ReadRequest {
    let target = &found.target;
    ReadRequest {
        pair: target.pair,
        file: target.file,
        folder: target.folder,
        name: target.name.clone(),
        capability: Some(found.capability.clone()),
        epoch,
        version_epoch: part.version.epoch,
        version_number: part.version.number,
        offset: part.offset,
        len: part.len,
        stale_ok,
    }
}

/// Checks an answer against what was asked and its own checksum.
fn check(reply: ReadReply, body: Bytes, part: Part) -> Result<(Version, Bytes)> {
    let version = reply.version.ok_or_else(|| Error::bad_request("an answer without a version"))?;
    if !part.version.is_none() && version.version() != part.version {
        return Err(Error::bad_request("an answer of another version"));
    }
    if body.len() > part.len as usize {
        return Err(Error::bad_request("an answer longer than asked for"));
    }
    if crc64(&body) != reply.crc64 {
        let what = format_args!("bytes at {} arrive with a wrong checksum", part.offset);
        return Err(Error::new(Code::Damaged, what, "check the network and memory, then run `pairfs scrub`"));
    }
    Ok((version, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_asked_for_in_whole_pieces() {
        let piece = PIECE as u64;
        let mut ahead = Ahead { next: 10, end: 2 * piece + 5 };
        let ranges: Vec<_> = std::iter::from_fn(|| ahead.take()).collect();
        assert_eq!(ranges, [(10, PIECE as u32 - 10), (piece, PIECE as u32), (2 * piece, 5)]);
        assert_eq!(Ahead { next: 7, end: 7 }.take(), None);
    }

    #[test]
    fn an_answer_of_another_version_or_with_a_wrong_checksum_is_not_given_to_the_reader() {
        let version = |number| Version { epoch: 1, number, size: 3, ..Version::default() };
        let part = |number| Part { version: VersionNumber { epoch: number, number }, offset: 0, len: 3 };
        let body = Bytes::from_static(b"abc");
        let reply = ReadReply { version: Some(version(1)), crc64: crc64(&body) };
        assert!(check(reply.clone(), body.clone(), part(0)).is_ok());
        assert!(check(reply.clone(), body.clone(), part(1)).is_ok());
        assert_eq!(check(reply.clone(), body.clone(), part(2)).unwrap_err().code, Code::BadRequest);
        assert_eq!(
            check(reply.clone(), Bytes::from_static(b"abd"), part(1)).unwrap_err().code,
            Code::Damaged
        );
        assert!(check(reply, Bytes::from_static(b"abcd"), part(1)).is_err());
    }
}
