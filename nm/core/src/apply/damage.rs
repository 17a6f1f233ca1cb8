//! A server of whose journal a part cannot be read asks whether to go on with the rest (R31).
//!
//! What stood there, its partner knows; so the partner has to be there and well, and to act. Then nothing counts that the
//! server has acknowledged: it gets every row anew and is compared (R24), and is stale until that is done. Before it is
//! told to go on it changes nothing on its disk.

use super::context::{Context, Stop, pair_event};
use types::command::{Answer, Recovered};
use types::limits::DAMAGE_PATIENCE;
use types::record::{Damage, Pair, Server};

/// What is done about it, and why. `late`: the partner has had its time to catch up.
fn judge(server: &Server, partner: Option<&Server>, pair: &Pair, late: bool) -> (Damage, &'static str) {
    let Some(partner) = partner else {
        return (Damage::Hopeless, "it has no partner that could tell what stood there");
    };
    let acts = pair.acting == server.name;
    match partner.damage() {
        Damage::None if partner.recovered && !partner.failed && !partner.compare => {}
        Damage::None if !partner.compare => return (Damage::Waits, "it waits for its partner"),
        _ => return (Damage::Hopeless, "its partner is damaged or incomplete as well"),
    }
    match (acts, partner.fresh) {
        (false, _) => (Damage::GoesOn, "everything is compared, and what is lacking is copied anew"),
        (true, true) => (Damage::Waits, "its partner is to act first"),
        // It may lack rows only, not bytes.
        (true, false) if !late => (Damage::Waits, "its partner is to catch up and to act first"),
        (true, false) => (Damage::Hopeless, "its partner lacks something that only this server may have"),
    }
}

pub(super) fn damaged(context: &mut Context<'_>, command: &Recovered) -> Result<Answer, Stop> {
    let server = context.require_incarnation(&command.server, command.incarnation)?.clone();
    let pair = context.pair(server.pair)?.clone();
    let partner = match pair.partner_of(&server.name) {
        "" => None,
        name => context.server_if_known(name)?.cloned(),
    };
    let patience = DAMAGE_PATIENCE.as_millis() as u64;
    let late = context.now_ms().saturating_sub(server.registered_ms) > patience
        && partner.as_ref().is_some_and(|it| context.now_ms().saturating_sub(it.registered_ms) > patience);
    let (damage, why) = judge(&server, partner.as_ref(), &pair, late);
    if damage == Damage::Hopeless
        && let Some(partner) = partner.filter(|partner| partner.damage() == Damage::Waits)
    {
        // It waits for this one in vain.
        context.server(&partner.name)?.set_damage(Damage::Hopeless);
    }
    let known = context.server(&command.server)?;
    known.set_damage(damage);
    known.recovered = false;
    if damage == Damage::GoesOn {
        (known.control_cursor, known.pair_cursor) = (0, 0);
        (known.fresh, known.compare) = (false, true);
    }
    if server.damage() != damage {
        let reason = format!("a part of its journal cannot be read: {why}");
        context.event(pair_event("damaged", &command.server, &pair, reason, &[]))?;
    }
    let server = Some(context.server(&command.server)?.clone());
    Ok(Answer { server, pair: Some(pair), rows: context.rows(), ..Answer::default() })
}
