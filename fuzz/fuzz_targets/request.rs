//! A frame as a peer sends it: header and body. What is read must be written back to something
//! that reads the same. `cargo +nightly fuzz run request` runs until it finds something.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidelog_protocol::header::RequestHeader;
use tidelog_protocol::wire::Reason;
use tidelog_protocol::{ApiKey, DecodeError, Reader, Request, Version, Writer};

fuzz_target!(|frame: &[u8]| {
    let mut input = Reader::new(Bytes::copy_from_slice(frame));
    let Ok(header) = RequestHeader::read(&mut input) else { return };
    let (key, version) = (header.key, header.version);
    if !key.versions().contains(&version.number) {
        return;
    }
    let Ok(request) = read(key, version, input) else { return };
    let mut out = Writer::default();
    request.write(&mut out, version);
    let again = read(key, version, Reader::new(out.into_bytes()));
    // Unknown tags are not written back, and a shorter frame may take less memory.
    if again.as_ref().is_err_and(|error| error.reason == Reason::Amplified) {
        return;
    }
    // By text, since a float that is not a number does not equal itself.
    assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, DecodeError>(request)));
});

fn read(key: ApiKey, version: Version, mut input: Reader) -> Result<Request, DecodeError> {
    let request = Request::read(key, version, &mut input)?;
    input.finish()?;
    Ok(request)
}
