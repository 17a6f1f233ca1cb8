//! GetMany: small contents for the partner, many in one answer.

use crate::fetch::many::{BATCH_BYTES, SMALL_MAX};
use crate::node::Node;
use crate::store::Store;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use types::ids::SessionId;
use types::limits::{BATCH_COMMANDS, FRAME_HEAD_MAX};
use types::message::partner::{GetManyReply, GetManyRequest, SmallContent};
use types::record::Manifest;
use types::{Error, Result};

/// Bytes that session, manifest of one chunk and their framing take in the head, at most.
const HEAD_EACH: usize = 256;

const _: () = assert!(BATCH_COMMANDS * HEAD_EACH <= FRAME_HEAD_MAX);

/// Reads what is here and finds room; whoever asked asks for the rest again, or one by one.
pub async fn run(node: Arc<Node>, request: GetManyRequest) -> Result<(GetManyReply, Bytes)> {
    if request.sessions.len() > BATCH_COMMANDS {
        return Err(Error::bad_request(format_args!("{} contents at once", request.sessions.len())));
    }
    let store = node.store()?.clone();
    let (reply, body) = node.pool.run(move || read(&store, &request.sessions)).await?;
    node.yield_to_clients(reply.contents.len() as u64, body.len() as u64).await;
    Ok((reply, body))
}

fn read(store: &Store, sessions: &[Vec<u8>]) -> Result<(GetManyReply, Bytes)> {
    let (mut reply, mut body) = (GetManyReply::default(), BytesMut::new());
    for session in sessions {
        let id = SessionId::from_slice(session)?;
        // It stays until its bytes are read (R32); what cannot be pinned or read is asked for alone, and says why.
        let Ok(_pin) = store.pin(id) else { continue };
        let Ok(Some(held)) = store.lookup(id) else { continue };
        if held.manifest.size > SMALL_MAX {
            continue;
        }
        let size = held.manifest.size as u32;
        if body.len() + size as usize > BATCH_BYTES {
            break;
        }
        let Ok((bytes, _)) = store.read(&held.manifest, 0, size) else { continue };
        body.extend_from_slice(&bytes);
        let manifest = Manifest { inline: Bytes::new(), ..Manifest::clone(&held.manifest) };
        reply.contents.push(SmallContent { session: session.clone(), manifest: Some(manifest) });
    }
    Ok((reply, body.freeze()))
}
