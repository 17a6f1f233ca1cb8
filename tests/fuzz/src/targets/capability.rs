//! Capabilities and tickets: what verifies was signed.

use crate::input::Input;
use prost::Message;
use types::capability::{Capability, MacKey, SignedCapability, Ticket, right};

const MASTER: MacKey = MacKey([7; 32]);
const SERVER: &str = "ss1";
/// All of them end then; it is one ms earlier.
const ENDS_MS: u64 = 1_000;

/// What the name manager has signed.
pub fn signed() -> Vec<(Capability, SignedCapability)> {
    let one = |user: &str, rights, file, operator| Capability {
        user: user.into(),
        stamp: 77,
        expires_ms: ENDS_MS,
        rights,
        pair: 1,
        folder: 5,
        file,
        operator,
    };
    let capabilities = [
        one("admin", right::ALL, 0, false),
        one("ann", right::READ, 44, false),
        one("admin", right::READ, 0, true),
    ];
    let sign = |capability: Capability| {
        let signed = SignedCapability::sign(&capability, &MASTER, &[SERVER, "ss1_backup"]);
        (capability, signed)
    };
    capabilities.into_iter().map(sign).collect()
}

/// A capability as it comes from a client, and a ticket.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let bytes = input.rest();
    if flags & 1 == 1 {
        return ticket(bytes);
    }
    let Ok(said) = SignedCapability::decode(bytes) else { return };
    let key = MASTER.for_server(SERVER);
    if let Ok(capability) = said.verify(SERVER, &key, ENDS_MS - 1) {
        let known = signed();
        let original = known.iter().find(|(_, signed)| signed.body == said.body);
        let (original, _) = original.expect("nobody has signed that");
        assert_eq!(capability, *original);
    }
    assert!(said.verify(SERVER, &key, ENDS_MS).is_err(), "it has ended");
    // That of another server is another key.
    let other = MASTER.for_server("ss2");
    assert!(said.verify(SERVER, &other, 0).is_err(), "signed with the key of another server");
    if let Ok(capability) = Capability::decode(&said.body[..]) {
        for rights in [right::READ, right::WRITE, right::ALL] {
            let covers = capability.require(rights, 1, 5, 44).is_ok();
            assert!(!covers || capability.rights & rights == rights);
        }
    }
}

/// The key of a ticket is that of these bytes alone.
fn ticket(bytes: &[u8]) {
    let key = MASTER.for_server(SERVER);
    let of = |bytes: &[u8]| key.for_ticket(bytes);
    assert_eq!(of(bytes), of(bytes));
    if let Ok(ticket) = Ticket::decode(bytes) {
        let plain = ticket.encode_to_vec();
        assert_eq!(plain == bytes, of(&plain) == of(bytes), "two tickets with one key");
    }
}
