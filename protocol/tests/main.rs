//! The wire protocol against an independent codec, the bytes of real clients, and hostile ones.
//!
//! Everything random comes from fixed seeds. `TIDELOG_TEST_ITERATIONS` multiplies how much of it
//! there is, for a long run.

mod error_codes;
mod hostile;
mod oracle;
mod values;
mod vectors;

use tidelog_protocol::{ApiKey, Reader, Request, Response, Version, Writer};

/// How often to repeat what is worth repeating `base` times in a run of seconds.
fn iterations(base: usize) -> usize {
    match std::env::var("TIDELOG_TEST_ITERATIONS").as_deref() {
        Ok("forever") => usize::MAX,
        Ok(factor) => base * factor.parse::<usize>().expect("a number, or forever"),
        Err(_) => base,
    }
}

/// Every version of every API we speak.
fn versions() -> impl Iterator<Item = (ApiKey, Version)> {
    ApiKey::ALL.iter().flat_map(|&key| key.versions().map(move |number| (key, key.version(number))))
}

fn request_bytes(request: &Request, version: Version) -> bytes::Bytes {
    let mut out = Writer::default();
    request.write(&mut out, version);
    out.into_bytes()
}

fn response_bytes(response: &Response, version: Version) -> bytes::Bytes {
    let mut out = Writer::default();
    response.write(&mut out, version);
    out.into_bytes()
}

fn read_request(bytes: bytes::Bytes, key: ApiKey, version: Version) -> Request {
    let mut input = Reader::new(bytes);
    let request = Request::read(key, version, &mut input).expect("a request");
    input.finish().expect("nothing after the request");
    request
}

fn read_response(bytes: bytes::Bytes, key: ApiKey, version: Version) -> Response {
    let mut input = Reader::new(bytes);
    let response = Response::read(key, version, &mut input).expect("a response");
    input.finish().expect("nothing after the response");
    response
}
