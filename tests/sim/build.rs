//! The program's own `getrandom` and `clock_gettime` come before those of the C library also where they are looked up by
//! name at run time.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in ["getrandom", "clock_gettime"] {
        println!("cargo::rustc-link-arg=-Wl,--export-dynamic-symbol={name}");
    }
}
