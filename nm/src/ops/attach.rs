//! First on every client's connection: its id, and pushes from now on.

use crate::service::Call;
use net::secret;
use types::Result;
use types::message::Empty;
use types::message::manager::Attached;

pub(crate) async fn run(call: Call, _: Empty) -> Result<Attached> {
    let user = call.user()?;
    let manager = &call.manager;
    manager.clients.attach(&call.session);
    let now_ms = manager.proposer.time();
    Ok(Attached {
        client_issued: now_ms,
        client_random: u64::from_be_bytes(secret::random::<8>()?),
        now_ms,
        cluster_id: manager.cluster.cluster_id.clone(),
        user,
        name: manager.settings.name.clone(),
    })
}
