//! A member asks for what its partner holds, or passes something on to it, and cannot reach it: forwarded to the partner.

use crate::service::Call;
use bytes::Bytes;
use net::{Incoming, Outgoing};
use nm_core::state::State;
use std::time::Duration;
use types::message::member::{Relay, RelayBytes, RelayManifest, RelayMode, RelayReply, RelayRequest};
use types::message::partner::{PassAbort, PassPiece, PassPrepare};
use types::record::{Pair, Server};
use types::{Code, Error, Result};

/// How long the partner may take.
const PATIENCE: Duration = Duration::from_secs(8);

pub(crate) async fn run(call: Call, incoming: Incoming) -> Result<Outgoing> {
    let request = incoming.decode::<Relay>()?;
    let manager = &call.manager;
    if manager.settings.relay() == RelayMode::Never {
        let what = "this name manager relays nothing (--relay never)";
        return Err(Error::new(Code::Unavailable, what, "mend the network between the members"));
    }
    call.require_server(&request.server)?;
    let (server, pair, holder) = members(&call, &request)?;
    let away = || {
        let what = format_args!("the name manager does not reach {} either", holder.name);
        Error::new(Code::Unavailable, what, "wait until it is back")
    };
    let member = manager.members.get(&holder).ok_or_else(away)?;
    let _place = manager.relays.place().await?;
    let mut reply = RelayReply::default();
    let mut body = Bytes::new();
    let passed = incoming.body.len();
    match (request.manifest, request.bytes, request.piece, request.prepare, request.abort) {
        (Some(manifest), None, None, None, None) => {
            reply.manifest = Some(member.call::<RelayManifest>(manifest, PATIENCE).await?);
        }
        (None, Some(bytes), None, None, None) => {
            let (told, bytes) = member.call_with::<RelayBytes>(bytes, Bytes::new(), PATIENCE).await?;
            reply.bytes = Some(told);
            body = bytes;
        }
        (None, None, Some(piece), None, None) => {
            reply.piece = Some(member.call_with::<PassPiece>(piece, incoming.body, PATIENCE).await?.0);
        }
        (None, None, None, Some(prepare), None) => {
            reply.prepare = Some(member.call::<PassPrepare>(prepare, PATIENCE).await?);
        }
        (None, None, None, None, Some(abort)) => {
            member.call::<PassAbort>(abort, PATIENCE).await?;
        }
        _ => return Err(Error::bad_request("a relayed request asks for one thing")),
    }
    manager.relayed(&pair, &server, &holder.name, (body.len() + passed) as u64);
    Ok(Outgoing::reply::<Relay>(&reply, body))
}

/// The member that asks, its pair, and the partner that holds what it wants.
fn members(call: &Call, request: &RelayRequest) -> Result<(Server, Pair, Server)> {
    let view = call.manager.view()?;
    let state = State::new(&view);
    let present = state
        .server(&request.server)?
        .filter(|server| server.incarnation == request.incarnation && !server.failed);
    let over = || {
        let what = format_args!("this registration of {} is over", request.server);
        Error::new(Code::Unavailable, what, "it registers again by itself")
    };
    let server = present.ok_or_else(over)?;
    let pair = state.pair(server.pair)?.ok_or_else(|| Error::internal("a server without its pair"))?;
    let holder = state.server(pair.partner_of(&server.name))?;
    let holder = holder.ok_or_else(|| Error::new(Code::Unavailable, "there is no partner", "start it"))?;
    Ok((server, pair, holder))
}
