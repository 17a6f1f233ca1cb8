//! How durable writes below a folder are, unless they say it themselves (R19). It stands in the folder's record, so
//! every storage server knows it by the control feed; the nearest folder wins, and the root's holds for the cluster.

use super::context::{Context, Stop, refuse};
use super::entries::{done, existing, require_write};
use super::idempotency;
use super::write::asker;
use types::Code;
use types::command::{Answer, SetDurability};
use types::message::store::Durability;
use types::path::PathName;

/// Sets it, or with `Unset` leaves it to the folder above.
pub(super) fn set(context: &mut Context<'_>, command: &SetDurability) -> Result<Answer, Stop> {
    let asker = asker(command.asker.as_ref())?;
    if let Some(answer) = idempotency::before(context, asker)? {
        return Ok(answer);
    }
    let path = PathName::parse(&command.path)?;
    let Ok(wanted) = Durability::try_from(command.durability) else {
        return refuse(Code::BadRequest, "no such durability", "update the name manager");
    };
    let mut folder = existing(context, &path)?;
    if !folder.is_folder() {
        return refuse(
            Code::NotAFolder,
            format_args!("{path} is not a folder"),
            "durability is a folder's, or a request's: use --durability when you write",
        );
    }
    require_write(context, &folder, &asker.user)?;
    if folder.durability() != wanted {
        folder.set_durability(wanted);
        folder.changed_ms = context.now_ms();
        context.put_record(&mut folder)?;
    }
    done(context, asker, folder)
}
