//! Every message of the ports, and the values that are made of what stands in them.

use super::assert_stable;
use crate::input::Input;
use prost::Message;
use types::command::{Asker, Batch};
use types::ids::RequestKey;
use types::message::{Form, forms};
use types::record::{Manifest, Record, Row, Server, Subject};

/// The first two bytes choose the method, the third its request or its reply; then the message.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (id, reply) = (input.short(), input.byte() & 1 == 1);
    let bytes = input.rest();
    if let Some(form) = form_of(id) {
        assert_stable(bytes, if reply { form.reply } else { form.request });
    }
    values(bytes);
}

/// The method of a number; any number means one, so that nothing drawn is in vain.
fn form_of(id: u16) -> Option<&'static Form> {
    let count = forms().count();
    forms().find(|form| form.id == id).or_else(|| forms().nth(usize::from(id) % count))
}

/// The bytes are taken for each kind of what stands within messages, too.
fn values(bytes: &[u8]) {
    if let Ok(row) = Row::decode(bytes)
        && let Some(Subject::Record(record)) = &row.subject
    {
        record_of(record);
    }
    if let Ok(record) = Record::decode(bytes) {
        record_of(&record);
    }
    if let Ok(manifest) = Manifest::decode(bytes) {
        let _ = (manifest.digest().map(|digest| digest.to_string()), manifest.is_inline());
    }
    if let Ok(asker) = Asker::decode(bytes) {
        let key = asker.key();
        let read: RequestKey = key.to_string().parse().expect("a request key's text is one");
        assert_eq!((read.client, read.number), (key.client, key.number));
    }
    let _ = (Server::decode(bytes), Batch::decode(bytes));
}

fn record_of(record: &Record) {
    let head = record.head_version();
    assert!(head.is_none_or(|head| head.version() == record.head()));
    let _ = (record.inode().to_string(), record.at().to_string(), record.is_alone(u64::MAX));
    for version in &record.versions {
        if let (Ok(session), Ok(digest)) = (version.session_id(), version.digest()) {
            assert_eq!(session.0[..], version.session[..]);
            assert_eq!(digest.sha256[..], version.sha256[..]);
        }
        let number = version.version();
        assert_eq!(number.to_string().parse().ok(), Some(number), "a version is read back from its text");
    }
}
