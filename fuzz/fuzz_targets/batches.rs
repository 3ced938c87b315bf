//! Record batches as a producer may send them: whatever they hold, their records are read within
//! the bound on decompressed bytes, or refused. `cargo +nightly fuzz run batches` runs until it
//! finds something.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_protocol::records::batches;

const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    for batch in batches(Bytes::copy_from_slice(bytes)) {
        let Ok(batch) = batch else { return };
        // Without the checksum, which a fuzzer would hardly ever guess.
        let Ok(records) = batch.records(DECOMPRESSED_BYTES_MAX) else { return };
        for record in records.map_while(Result::ok) {
            let offsets = batch.header().base_offset..=batch.header().last_offset();
            assert!(offsets.contains(&record.offset));
        }
    }
});
