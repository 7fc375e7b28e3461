//! See `downbeat_tests::fuzz::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| downbeat_tests::fuzz::session::run(data));
