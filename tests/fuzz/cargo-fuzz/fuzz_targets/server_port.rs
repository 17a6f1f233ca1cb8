#![no_main]

pairfs_cargo_fuzz::fuzz!("server_port");
