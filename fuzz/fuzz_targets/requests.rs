//! Frames as a client may send them: whatever they hold, reading one neither panics nor takes
//! more than its bytes allow, and what was read is written and read again as the same.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::{Reader, Request, Writer};

fuzz_target!(|frame: &[u8]| {
    let mut input = Reader::new(Bytes::copy_from_slice(frame));
    let Ok(header) = RequestHeader::read(&mut input) else { return };
    let (key, version) = (header.key, header.version);
    if !key.versions().contains(&version.number) {
        return;
    }
    let Ok(request) = Request::read(key, version, &mut input) else { return };
    let mut out = Writer::default();
    request.write(&mut out, version);
    let again = Request::read(key, version, &mut Reader::new(out.into_bytes()));
    assert_eq!(again.as_ref(), Ok(&request));
});
