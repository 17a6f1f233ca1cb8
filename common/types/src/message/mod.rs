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

/// Reads a message and writes it again: what a peer may send is what this program would send, or is refused.
pub type Reread = fn(&[u8]) -> std::result::Result<Vec<u8>, prost::DecodeError>;

/// What travels for one method, whatever its types are: for what looks at all messages alike.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// Number of the method on the wire.
    pub id: u16,
    /// Name of the method in logs.
    pub name: &'static str,
    /// Reads a request and writes it again.
    pub request: Reread,
    /// Reads a reply and writes it again.
    pub reply: Reread,
}

impl Form {
    const fn of<M: Method>() -> Form {
        Form { id: M::ID, name: M::NAME, request: reread::<M::Request>, reply: reread::<M::Reply> }
    }
}

fn reread<M: Message + Default>(bytes: &[u8]) -> std::result::Result<Vec<u8>, prost::DecodeError> {
    M::decode(bytes).map(|message| message.encode_to_vec())
}

/// The forms of all methods, in the order of their declarations. What is pushed without being asked for is the reply
/// of a method, too.
pub fn forms() -> impl Iterator<Item = &'static Form> {
    [manager::FORMS, member::FORMS, store::FORMS, partner::FORMS, rebuild::FORMS].into_iter().flatten()
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

        /// The forms of the methods that are declared here.
        pub(crate) const FORMS: &[$crate::message::Form] = &[$($crate::message::Form::of::<$name>()),*];
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
