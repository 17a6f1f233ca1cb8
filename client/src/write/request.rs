//! What a write asks for, apart from where its bytes come from.

use super::WriteOptions;
use crate::ask::ask;
use crate::core::{Acting, Key};
use crate::lookup::Found;
use crate::retry::Retry;
use types::Result;
use types::ids::{Digest, RequestKey, SessionId, VersionNumber};
use types::message::store::CommitRequest;
use types::path::PathName;

/// One write.
pub(super) struct Request<'a> {
    /// As the user gave it.
    pub(super) path: &'a str,
    pub(super) name: PathName,
    pub(super) options: &'a WriteOptions,
    /// The session is the version's identity, so it is the same in all attempts.
    operation: &'static str,
    /// What an append adds; else the content is what the user asked for.
    asked: Option<Digest>,
    if_version: Option<VersionNumber>,
    create_only: bool,
    pub(super) given: Option<RequestKey>,
}

/// What is known of the content once all of it was seen. What is uploaded in pieces is hashed where it enters
/// the storage servers and nowhere else; the CRC-64 of the whole says that it arrived as it was read
/// (decision 0017).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) size: u64,
    pub(super) crc64: u64,
    pub(super) digest: Option<Digest>,
}

impl Summary {
    /// What the content is known by in what the user asked (R13). Content of one size has one kind of name.
    fn name(&self) -> String {
        match self.digest {
            Some(digest) => digest.to_string(),
            None => format!("crc64nvme:{:016x}:{}", self.crc64, self.size),
        }
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(path: &'a str, name: PathName, options: &'a WriteOptions) -> Request<'a> {
        Request {
            path,
            name,
            options,
            operation: "write",
            asked: None,
            if_version: options.if_version,
            create_only: options.create_only,
            given: options.request_key,
        }
    }

    /// A write of `base` with `asked` after it. Which version that is, is no part of what the user asked.
    pub(super) fn append(
        path: &'a str,
        name: PathName,
        options: &'a WriteOptions,
        asked: Digest,
        base: Option<VersionNumber>,
    ) -> Request<'a> {
        let plain = Request::new(path, name, options);
        Request {
            operation: "append",
            asked: Some(asked),
            if_version: base,
            create_only: base.is_none(),
            ..plain
        }
    }

    fn ask(&self, content: Summary) -> [u8; 32] {
        let mut conditions = Vec::new();
        if let Some(version) = self.options.if_version {
            conditions.push(format!("if={version}"));
        }
        if self.options.create_only {
            conditions.push("create".to_owned());
        }
        let conditions: Vec<&str> = conditions.iter().map(String::as_str).collect();
        let content = self.asked.map_or_else(|| content.name(), |asked| asked.to_string());
        ask(self.operation, &[self.path], &conditions, Some(&content))
    }

    /// The request to commit `session`.
    pub(super) fn commit(
        &self,
        session: SessionId,
        found: &Found,
        acting: &Acting,
        key: &Key<'_>,
        summary: Summary,
        retry: &Retry,
    ) -> CommitRequest {
        let condition = self.if_version.unwrap_or(VersionNumber::NONE);
        CommitRequest {
            session: session.0.to_vec(),
            target: Some(found.target.clone()),
            capability: Some(found.capability.clone()),
            epoch: acting.epoch,
            asker: Some(key.asker(self.ask(summary))),
            size: summary.size,
            crc64: summary.crc64,
            sha256: summary.digest.map_or_else(Vec::new, |digest| digest.sha256.to_vec()),
            if_epoch: condition.epoch,
            if_number: condition.number,
            create_only: self.create_only,
            durability: self.options.durability.into(),
            inherited: found.durability,
            mode: self.options.mode,
            mtime_ms: self.options.mtime_ms,
            timeout_ms: retry.left_for_server(),
        }
    }
}

/// A new session.
pub(super) fn new_session() -> Result<SessionId> {
    Ok(SessionId::from_random(net::secret::random()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest { sha256: [byte; 32], ..Digest::default() }
    }

    fn content(byte: u8) -> Summary {
        Summary { size: 1, crc64: byte.into(), digest: None }
    }

    #[test]
    fn an_append_asks_the_same_whatever_it_is_appended_to() {
        let options = WriteOptions { append: true, ..WriteOptions::default() };
        let base = |number| Some(VersionNumber { epoch: 1, number });
        let ask = |base, whole| {
            let name = PathName::parse("/a").unwrap();
            Request::append("/a", name, &options, digest(7), base).ask(whole)
        };
        assert_eq!(ask(base(1), content(1)), ask(base(2), content(2)));
        assert_eq!(ask(base(1), content(1)), ask(None, content(3)));
    }

    #[test]
    fn r13_another_content_under_the_same_key_is_another_request() {
        let options = WriteOptions::default();
        let ask = |whole| Request::new("/a", PathName::parse("/a").unwrap(), &options).ask(whole);
        assert_eq!(ask(content(1)), ask(content(1)));
        assert_ne!(ask(content(1)), ask(content(2)));
        assert_ne!(ask(content(1)), ask(Summary { size: 2, ..content(1) }));
        let hashed = |byte| Summary { digest: Some(digest(byte)), ..content(1) };
        assert_ne!(ask(hashed(1)), ask(hashed(2)));
    }

    #[test]
    fn a_write_with_another_condition_is_another_request() {
        let name = || PathName::parse("/a").unwrap();
        let plain = WriteOptions::default();
        let version = "1.2".parse().ok();
        let conditional = WriteOptions { if_version: version, ..WriteOptions::default() };
        let of = |options| Request::new("/a", name(), options).ask(content(1));
        assert_ne!(of(&plain), of(&conditional));
        // How durable, is no part of it: repeating with another durability answers the same.
        let durable = WriteOptions { durability: super::super::Durability::Sync, ..WriteOptions::default() };
        assert_eq!(of(&plain), of(&durable));
    }
}
