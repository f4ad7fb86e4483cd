#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| pbtnas_fuzz::targets::space::fuzz(input));
