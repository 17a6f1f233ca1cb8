//! The deciding code of the name manager: a pure, deterministic state machine.

pub mod store;
