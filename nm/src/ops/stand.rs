//! A server stands for a rebuild that ended before it said so (R26).

use crate::service::Call;
use types::message::Empty;
use types::rebuild::StandReport;
use types::{Code, Error, Result};

/// It was told of the rebuild by the name manager that this one was a moment ago.
pub(crate) async fn run(call: Call, report: StandReport) -> Result<Empty> {
    call.require_server(&report.server)?;
    Err(Error::new(Code::RegisterAgain, "the rebuild is over", "register again"))
}
