//! The messages of every wire, and which answer belongs to which request.
//!
//! One module for each direction: [`manager`] (client → nm), [`member`] (ss → nm and nm → ss; [`rebuild`] for a name
//! manager that is made anew), [`store`] (client → ss) and [`partner`] (ss → ss). A message's head is one of these; bulk bytes
//! travel beside it as the frame's body, never inside.

pub mod manager;
pub mod member;
pub mod partner;
pub mod rebuild;
pub mod store;

use prost::Message;

/// One request and its reply, bound to a method number.
pub trait Method: 'static {
    /// Number on the wire; never given another meaning.
    const ID: u16;
    /// Name in logs and metrics.
    const NAME: &'static str;
    /// What is asked.
    type Request: Message + Default + 'static;
    /// What is answered.
    type Reply: Message + Default + 'static;
}

/// Declares methods: `/// doc  Name = number: Request => Reply;`
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $id:literal: $request:ty => $reply:ty;)*) => {
        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl $crate::message::Method for $name {
            const ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            type Request = $request;
            type Reply = $reply;
        })*
    };
}
pub(crate) use methods;

/// Purposes of a connection, told in its hello.
pub mod purpose {
    /// Requests and bulk bytes.
    pub const DATA: u16 = 1;
    /// Heartbeats and grants only (R40).
    pub const HEARTBEAT: u16 = 2;
}

/// An answer without content.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}
