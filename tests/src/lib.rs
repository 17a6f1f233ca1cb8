//! Tests that start real processes and kill, freeze and cut them off.
