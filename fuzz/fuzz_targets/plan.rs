//! See `downbeat_tests::fuzz::plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| downbeat_tests::fuzz::plan::run(data));
