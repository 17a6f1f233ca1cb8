//! Takes requests and hands each to its operation. Who asks is checked here, once.

use crate::manager::Manager;
use crate::ops;
use bytes::Bytes;
use net::{BoxFuture, Incoming, Method, Outgoing, Principal, Service, Session};
use std::future::Future;
use std::sync::Arc;
use types::message::manager::{
    Attach, Events, ForcePromote, GetTicket, List, Locate, MakeEntry, MoveEntry, OpenUpload, PairFiles,
    PairRecords, RemoveEntry, SetFolderDurability, Status, Switchover, Whereabouts,
};
use types::message::member::{
    Complete, Heartbeat, Leave, RegisterServer, Relay, ReleaseLease, ReportDamage, ReportRecovered, Resolve,
    TakeIn, TakenIn,
};
use types::message::rebuild::Stand;
use types::{Code, Error, Result};

/// The name manager as the network sees it.
pub(crate) struct NameService(pub(crate) Arc<Manager>);

/// Which registration a connection belongs to.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) server: String,
    pub(crate) incarnation: u64,
}

/// One request: what every operation is given.
pub(crate) struct Call {
    pub(crate) manager: Arc<Manager>,
    pub(crate) session: Arc<Session>,
}

impl Call {
    /// The user who asks.
    pub(crate) fn user(&self) -> Result<String> {
        match &self.session.peer.principal {
            Principal::User(name) => Ok(name.clone()),
            _ => Err(Error::new(Code::Denied, "this is for users", "sign in with a name and a key")),
        }
    }

    /// Refuses whoever is not an administrator.
    pub(crate) fn require_admin(&self) -> Result<String> {
        let user = self.user()?;
        let view = self.manager.view()?;
        let entry = nm_core::state::State::new(&view).user(&user)?;
        if entry.and_then(|entry| entry.public).is_some_and(|user| user.admin) {
            return Ok(user);
        }
        Err(Error::new(
            Code::Denied,
            format_args!("{user} may not administer the cluster"),
            "ask an administrator",
        ))
    }

    /// Refuses whoever is not the server `name`.
    pub(crate) fn require_server(&self, name: &str) -> Result<()> {
        match &self.session.peer.principal {
            Principal::Node(node) if node == name => Ok(()),
            _ => Err(Error::new(
                Code::Denied,
                format_args!("only {name} may say this"),
                "check the server's --name",
            )),
        }
    }

    /// Remembers which registration speaks here: the end of the connection is evidence about it (R5).
    pub(crate) fn bind(&self, server: &str, incarnation: u64) {
        let bound = self.session.get::<Bound>();
        if bound.is_none_or(|bound| bound.incarnation != incarnation) {
            self.session.set(Arc::new(Bound { server: server.to_owned(), incarnation }));
        }
    }
}

async fn answer<M: Method, F>(
    call: Call,
    request: Incoming,
    operation: impl FnOnce(Call, M::Request) -> F,
) -> Result<Outgoing>
where
    F: Future<Output = Result<M::Reply>>,
{
    let request = request.decode::<M>()?;
    let result = operation(call, request).await;
    match &result {
        Ok(_) => tracing::trace!(method = M::NAME, "done"),
        Err(error) => tracing::debug!(method = M::NAME, %error, "refused"),
    }
    Ok(Outgoing::reply::<M>(&result?, Bytes::new()))
}

/// One line for each method: its operation, boxed once.
macro_rules! dispatch {
    ($call:ident, $request:ident, $($method:ident => $operation:path,)*) => {
        match $request.method {
            $($method::ID => Box::pin(answer::<$method, _>($call, $request, $operation)),)*
            other => Box::pin(std::future::ready(Err(Error::new(
                Code::Unsupported,
                format_args!("method {other} is not known here"),
                "update this name manager",
            )))),
        }
    };
}

impl Service for NameService {
    fn connected(&self, session: &Arc<Session>) -> Result<()> {
        match &session.peer.principal {
            Principal::Ticket { .. } => Err(Error::new(
                Code::Denied,
                "tickets are for storage servers",
                "sign in with a name and a key",
            )),
            Principal::Node(_) | Principal::User(_) => Ok(()),
        }
    }

    fn call(
        self: Arc<Self>,
        session: Arc<Session>,
        request: Incoming,
    ) -> BoxFuture<'static, Result<Outgoing>> {
        let call = Call { manager: self.0.clone(), session };
        // The one whose answer has bulk bytes beside it.
        if request.method == Relay::ID {
            return Box::pin(ops::relay::run(call, request));
        }
        dispatch!(call, request,
            Locate => ops::locate::run,
            Complete => ops::complete::run,
            Heartbeat => ops::heartbeat::run,
            Attach => ops::attach::run,
            MakeEntry => ops::entries::make,
            RemoveEntry => ops::entries::remove,
            MoveEntry => ops::entries::rename,
            SetFolderDurability => ops::entries::durability,
            List => ops::list::run,
            Status => ops::status::run,
            Events => ops::events::run,
            GetTicket => ops::ticket::run,
            Switchover => ops::switchover::run,
            ForcePromote => ops::force_promote::run,
            PairRecords => ops::records::run,
            PairFiles => ops::files::run,
            Whereabouts => ops::whereabouts::run,
            OpenUpload => ops::upload::run,
            RegisterServer => ops::register::run,
            ReportRecovered => ops::recovered::run,
            Resolve => ops::resolve::run,
            TakeIn => ops::import::take_in,
            TakenIn => ops::import::taken_in,
            Leave => ops::leave::leave,
            ReleaseLease => ops::leave::release,
            Stand => ops::stand::run,
            ReportDamage => ops::damage::run,
        )
    }

    fn disconnected(&self, session: &Arc<Session>) {
        self.0.clients.detach(session);
        if let Some(bound) = session.get::<Bound>() {
            self.0.connection_lost(&bound.server, bound.incarnation);
        }
    }
}
