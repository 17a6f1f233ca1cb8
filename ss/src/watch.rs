//! What a simulation sees of a running server besides its answers.

use crate::node::Node;
use std::sync::Weak;

/// A look at a server; it keeps nothing alive.
pub struct Watch(Weak<Node>);

impl Watch {
    pub(crate) fn new(node: Weak<Node>) -> Watch {
        Watch(node)
    }

    /// The epoch in which a request would be served now, if one would (I1). To be asked where the server's clock is the
    /// present one.
    pub fn serves(&self) -> Option<u64> {
        let node = self.0.upgrade()?;
        let cursors = node.cursors(node.store().ok()?);
        node.serving.serves(cursors)
    }
}
