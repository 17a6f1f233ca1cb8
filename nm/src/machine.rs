//! The state machine as the Raft glue drives it: bytes in, bytes out.

use nm_core::store::{StoreError, StoreMut};
use nm_raft::Applied;
use prost::Message;
use types::command::Batch;

/// The state machine of the name manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine;

impl nm_raft::Machine for Machine {
    fn apply(&self, index: u64, payload: &[u8], store: &mut dyn StoreMut) -> Result<Applied, StoreError> {
        let batch = Batch::decode(payload).map_err(|error| {
            StoreError::damaged(format_args!("log entry {index} does not decode ({error})"))
        })?;
        let answers = nm_core::apply::apply(store, index, &batch)?;
        Ok(Applied { reply: answers.encode_to_vec().into() })
    }
}
