//! The deciding code of a storage server: who may serve, how a write session goes on, what a row asks for.
//!
//! Pure: no clock, no socket, no file, no randomness. `now` is an argument and always the time since the
//! machine started (boottime, R2); what is held is asked through a closure. The shell (`ss`) executes.
//!
//! | room | decides |
//! |---|---|
//! | [`lease`] | whether this server may serve now, and in which epoch |
//! | [`session`] | how a write session goes from open to committed |
//! | [`passing`] | which bytes go to the partner next |
//! | [`head`] | which version a read gets |
//! | [`apply`] | what has to be here before a row is applied |
//! | [`rounds`] | what the background scrubber looks at next |
//! | [`survey`] | what a new acting member lacks |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod apply;
pub mod head;
pub mod lease;
pub mod pace;
pub mod passing;
pub mod rounds;
pub mod session;
pub mod survey;
