//! See `downbeat_tests::fuzz::wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| downbeat_tests::fuzz::wire::run(data));
