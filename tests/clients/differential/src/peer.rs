//! One of the two brokers: asks it, and keeps its answers.

use crate::clock;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::RangeInclusive;
use std::time::Duration;
use tidelog_protocol::header::{RequestHeader, read_response_header};
use tidelog_protocol::messages::ApiVersionsRequest;
use tidelog_protocol::{ApiKey, Reader, Request, Response, Str, Writer};

/// A broker that is silent for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often something is asked again until it has come true.
const ATTEMPTS_MAX: usize = 600;
const PAUSE: Duration = Duration::from_millis(50);

/// A request, and what came of it.
pub(crate) struct Asked {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    /// What the script calls it.
    pub(crate) what: String,
    /// Nothing when the broker hung up.
    pub(crate) answer: Option<Response>,
}

/// A broker under test.
pub(crate) struct Peer {
    address: String,
    stream: Option<TcpStream>,
    correlation_id: i32,
    versions: BTreeMap<ApiKey, RangeInclusive<i16>>,
    /// Every request of the script with its answer, in order.
    pub(crate) asked: Vec<Asked>,
}

impl Peer {
    /// A broker at an address that has not been asked anything.
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
            correlation_id: 0,
            versions: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// The versions of each API that the broker says it speaks and this program speaks.
    pub(crate) fn spoken(&mut self) -> BTreeMap<ApiKey, RangeInclusive<i16>> {
        let Some(Response::ApiVersions(answer)) = self.exchange(&software().into(), 3) else {
            panic!("{} does not answer ApiVersions", self.address)
        };
        let ours = |it: &tidelog_protocol::messages::ApiVersion| {
            let key = ApiKey::from_i16(it.api_key)?;
            let (first, last) = key.versions().into_inner();
            Some((key, first.max(it.min_version)..=last.min(it.max_version)))
        };
        answer.api_keys.iter().filter_map(ours).collect()
    }

    /// From now on [`Peer::each`] asks in these versions.
    pub(crate) fn speak(&mut self, versions: BTreeMap<ApiKey, RangeInclusive<i16>>) {
        self.versions = versions;
    }

    /// The versions both brokers speak.
    pub(crate) fn versions(&self, key: ApiKey) -> RangeInclusive<i16> {
        let versions = self.versions.get(&key).cloned();
        versions.unwrap_or_else(|| panic!("{} is not spoken by both", key.name()))
    }

    /// The newest version both speak.
    pub(crate) fn newest(&self, key: ApiKey) -> i16 {
        *self.versions(key).end()
    }

    /// The oldest version both speak.
    pub(crate) fn oldest(&self, key: ApiKey) -> i16 {
        *self.versions(key).start()
    }

    /// Asks the same at every version both speak.
    pub(crate) fn each<R: Into<Request>>(&mut self, what: &str, request: impl Fn(i16) -> R) {
        for version in self.versions(request(0).into().api_key()) {
            self.ask(what, version, request(version));
        }
    }

    /// Asks, and keeps the answer for the comparison.
    pub(crate) fn ask(
        &mut self,
        what: &str,
        version: i16,
        request: impl Into<Request>,
    ) -> Option<Response> {
        let request = request.into();
        let answer = self.exchange(&request, version);
        self.keep(what, request.api_key(), version, answer.clone());
        answer
    }

    /// Asks at the newest version.
    pub(crate) fn newly(&mut self, what: &str, request: impl Into<Request>) -> Option<Response> {
        let request = request.into();
        let version = self.newest(request.api_key());
        self.ask(what, version, request)
    }

    /// Asks at the newest version, and does not compare the answer.
    pub(crate) fn plainly(&mut self, request: impl Into<Request>) -> Option<Response> {
        let request = request.into();
        let version = self.newest(request.api_key());
        self.exchange(&request, version)
    }

    /// Asks again and again, at the newest version, until the answer is as wanted; none is
    /// compared, since one of the brokers may be behind with what it has already acknowledged.
    pub(crate) fn until(
        &mut self,
        request: impl Into<Request>,
        wanted: impl Fn(&Response) -> bool,
    ) -> Response {
        let request = request.into();
        let version = self.newest(request.api_key());
        let mut last = None;
        for _ in 0..ATTEMPTS_MAX {
            last = self.exchange(&request, version);
            if let Some(answer) = last.take_if(|answer| wanted(answer)) {
                return answer;
            }
            clock::pause(PAUSE);
        }
        panic!("{}: {request:?} was never answered as wanted; last: {last:?}", self.address)
    }

    /// Sends a request that is not answered.
    pub(crate) fn tell(&mut self, version: i16, request: impl Into<Request>) {
        let request = request.into();
        self.send(&frame(&request, version, self.correlation_id));
    }

    /// Sends the body of a request under another API's number or version, and keeps what becomes
    /// of it: an answer is read as `read_as` of its API.
    pub(crate) fn pretend(&mut self, what: &str, key: i16, version: i16, read_as: (ApiKey, i16)) {
        // Of a version whose header has tags, since what is unknown is read as the newest.
        let mut bytes = frame(&Request::from(software()), 3, self.correlation_id);
        bytes[4..6].copy_from_slice(&key.to_be_bytes());
        bytes[6..8].copy_from_slice(&version.to_be_bytes());
        self.send(&bytes);
        let (key, version) = read_as;
        let answer = self.receive().map(|bytes| decode(key, version, bytes));
        self.keep(what, key, version, answer);
    }

    fn keep(&mut self, what: &str, key: ApiKey, version: i16, answer: Option<Response>) {
        self.asked.push(Asked { key, version, what: what.to_owned(), answer });
    }

    fn exchange(&mut self, request: &Request, version: i16) -> Option<Response> {
        self.correlation_id += 1;
        self.send(&frame(request, version, self.correlation_id));
        self.receive().map(|bytes| decode(request.api_key(), version, bytes))
    }

    fn send(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_or_insert_with(|| connect(&self.address));
        // That the other end has hung up shows when reading.
        let _ = stream.write_all(bytes);
    }

    /// The next frame; nothing, and a new connection, when the broker hung up.
    fn receive(&mut self) -> Option<Bytes> {
        let stream = self.stream.as_mut()?;
        let mut length = [0; 4];
        let mut bytes = Vec::new();
        let read = stream.read_exact(&mut length).and_then(|()| {
            bytes.resize(u32::from_be_bytes(length) as usize, 0);
            stream.read_exact(&mut bytes)
        });
        match read {
            Ok(()) => Some(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{} is silent; the last answer was to {}", self.address, self.last())
            }
            Err(_) => {
                self.stream = None;
                None
            }
        }
    }

    fn last(&self) -> String {
        self.asked.last().map_or_else(String::new, Asked::to_string)
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} v{} {}", self.key.name(), self.version, self.what)
    }
}

/// What this client says it is.
pub(crate) fn software() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: Str::from_static("differential"),
        client_software_version: Str::from_static("1.0"),
        ..Default::default()
    }
}

fn connect(address: &str) -> TcpStream {
    let connected = TcpStream::connect(address).and_then(|stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    });
    connected.unwrap_or_else(|error| panic!("cannot reach {address}: {error}"))
}

fn frame(request: &Request, version: i16, correlation_id: i32) -> Vec<u8> {
    let key = request.api_key();
    let version = key.version(version);
    let client_id = Some(Str::from_static("differential"));
    let mut out = Writer::default();
    RequestHeader { key, version, correlation_id, client_id }.write(&mut out);
    request.write(&mut out, version);
    out.into_frame().concat()
}

/// An answer must be read to its last byte, so that a field which is there too much shows.
fn decode(key: ApiKey, version: i16, bytes: Bytes) -> Response {
    let version = key.version(version);
    let mut input = Reader::new(bytes);
    let decoded = read_response_header(&mut input, key, version)
        .and_then(|_| Response::read(key, version, &mut input))
        .and_then(|response| input.finish().map(|()| response));
    decoded.unwrap_or_else(|error| panic!("{} v{}: {error}", key.name(), version.number))
}
