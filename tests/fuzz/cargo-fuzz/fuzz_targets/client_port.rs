#![no_main]

pairfs_cargo_fuzz::fuzz!("client_port");
