//! A target of `pairfs_fuzz` under libFuzzer, with mutations that leave its inputs whole beside libFuzzer's own.

pub use libfuzzer_sys;
use pairfs_fuzz::{Target, mutate};

/// Makes the fuzzer of the target of this name.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        use $crate::libfuzzer_sys;

        libfuzzer_sys::fuzz_target!(|data: &[u8]| (pairfs_fuzz::named($name).run)(data));

        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, most: usize, seed: u32| {
            $crate::mutated(pairfs_fuzz::named($name), data, size, most, seed)
        });
    };
}

/// Changes the first `size` bytes of `data`; gives how many they are then, at most `most`.
pub fn mutated(target: &Target, data: &mut [u8], size: usize, most: usize, seed: u32) -> usize {
    let mut random = fastrand::Rng::with_seed(seed.into());
    if random.bool() {
        return libfuzzer_sys::fuzzer_mutate(data, size, most);
    }
    let mut bytes = data[..size].to_vec();
    mutate::shaped(&mut random, &mut bytes, target);
    bytes.truncate(most);
    if bytes == data[..size] {
        return libfuzzer_sys::fuzzer_mutate(data, size, most);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}
