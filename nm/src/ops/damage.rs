//! A storage server has met bad bytes: an event for people.

use crate::service::Call;
use nm_core::state::State;
use types::Result;
use types::command::Op;
use types::message::Empty;
use types::message::member::DamageReport;
use types::record::{Event, Number};

/// The longest example that is kept, in bytes.
const EXAMPLE_MAX: usize = 512;

pub(crate) async fn run(call: Call, request: DamageReport) -> Result<Empty> {
    call.require_server(&request.server)?;
    let pair = {
        let view = call.manager.view()?;
        let pairs = State::new(&view).pairs()?;
        let is_member = |name: &str| name == request.server;
        pairs.into_iter().find(|pair| is_member(&pair.primary) || is_member(&pair.backup))
    };
    let mut reason = request.example;
    while reason.len() > EXAMPLE_MAX {
        reason.pop();
    }
    let kind = if request.damaged == 0 { "repaired" } else { "damaged" };
    let number = |name: &str, value| Number { name: name.to_owned(), value };
    let event = Event {
        kind: kind.to_owned(),
        server: request.server,
        pair: pair.map_or(String::new(), |pair| pair.name),
        reason,
        numbers: vec![number("repaired", request.repaired), number("damaged", request.damaged)],
        ..Event::default()
    };
    call.manager.proposer.propose(Op::Note(event)).await?;
    Ok(Empty {})
}
