#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| crosswheel_fuzz::patch(data));
