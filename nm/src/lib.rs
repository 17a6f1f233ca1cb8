//! The shell of the name manager.
