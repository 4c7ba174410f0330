#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smartmesh_tests::decoders::post(bytes));
