#![no_main]

pairfs_cargo_fuzz::fuzz!("raft_log");
