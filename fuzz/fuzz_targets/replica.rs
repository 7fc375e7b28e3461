//! See `downbeat_tests::fuzz::replica`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| downbeat_tests::fuzz::replica::run(data));
