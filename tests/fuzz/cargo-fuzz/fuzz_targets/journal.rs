#![no_main]

pairfs_cargo_fuzz::fuzz!("journal");
