//! A client that sends what it is told, frames that no real client would send included.

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;
use tidelog_protocol::header::{RequestHeader, read_response_header};
use tidelog_protocol::messages::{
    PartitionProduceData, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
    TopicProduceData,
};
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_protocol::{ApiKey, ErrorCode, Reader, Request, Response, Str, Writer};

/// One connection.
pub(crate) struct Raw {
    stream: Box<dyn Stream>,
    peer: String,
    correlation_id: i32,
}

const DEADLINE: Duration = Duration::from_secs(20);

/// Plaintext or TLS.
trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Raw {
    pub(crate) fn connect(address: &str) -> Self {
        Self::over(address, |stream| Box::new(stream))
    }

    /// A connection over TLS; the certificate has to be for `localhost`.
    pub(crate) fn connect_tls(address: &str, config: Arc<ClientConfig>) -> Self {
        let tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        Self::over(address, |stream| Box::new(StreamOwned::new(tls, stream)))
    }

    fn over(address: &str, wrap: impl FnOnce(TcpStream) -> Box<dyn Stream>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        Self { stream: wrap(stream), peer, correlation_id: 0 }
    }

    /// A connection that has said who it is.
    pub(crate) fn authenticated(address: &str, username: &str, password: &str) -> Self {
        let mut raw = Self::connect(address);
        assert_eq!(raw.authenticate(username, password), ErrorCode::NONE);
        raw
    }

    /// SASL/PLAIN, and the error code it ends with.
    pub(crate) fn authenticate(&mut self, username: &str, password: &str) -> ErrorCode {
        self.call(SaslHandshakeRequest { mechanism: Str::from_static("PLAIN") }, 1);
        let auth_bytes = Bytes::from(format!("\0{username}\0{password}"));
        match self.call(SaslAuthenticateRequest { auth_bytes }, 2) {
            Response::SaslAuthenticate(it) => it.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a request and reads its answer.
    pub(crate) fn call(&mut self, request: impl Into<Request>, version: i16) -> Response {
        let request = request.into();
        let key = request.api_key();
        self.send(&self.frame(&request, version));
        let answer = self.answer().unwrap_or_else(|| panic!("hung up on {}", key.name()));
        let correlation_id = self.correlation_id;
        self.correlation_id += 1;
        read(key, version, answer, correlation_id)
    }

    /// Sends all requests before it reads the first answer; answers must come in their order.
    pub(crate) fn pipeline(&mut self, requests: &[(Request, i16)]) -> Vec<Response> {
        let first = self.correlation_id;
        let mut frames = Vec::new();
        for (request, version) in requests {
            frames.extend(self.frame(request, *version));
            self.correlation_id += 1;
        }
        self.send(&frames);
        let answered = (first..).zip(requests).map(|(correlation_id, (request, version))| {
            let key = request.api_key();
            let answer = self.answer().unwrap_or_else(|| panic!("hung up on {}", key.name()));
            read(key, *version, answer, correlation_id)
        });
        answered.collect()
    }

    /// A whole frame, its length included.
    pub(crate) fn frame(&self, request: &Request, version: i16) -> Vec<u8> {
        let key = request.api_key();
        let mut out = Writer::default();
        let header = RequestHeader {
            key,
            version: key.version(version),
            correlation_id: self.correlation_id,
            client_id: Some(Str::from_static("raw")),
        };
        header.write(&mut out);
        request.write(&mut out, key.version(version));
        out.into_frame().concat()
    }

    /// Sends bytes as they are. That the other end has hung up shows when reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if !is_hangup(error.kind()) => panic!("{error}"),
            _ => {}
        }
    }

    /// The next frame, without its length; `None` when the other end hung up.
    pub(crate) fn answer(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.fill(&mut frame)?;
        Some(frame.into())
    }

    /// Everything until the other end hangs up.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if !is_hangup(error.kind()) => panic!("no hangup: {error}"),
            _ => bytes,
        }
    }

    /// This end's address, as the other end's log names it.
    pub(crate) fn peer(&self) -> String {
        self.peer.clone()
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if is_hangup(error.kind()) => None,
            Err(error) => panic!("neither an answer nor a hangup: {error}"),
        }
    }
}

/// One record for a topic's first partition, acks=all.
pub(crate) fn produce(topic: &str) -> Request {
    produce_to(topic, 0)
}

/// The same for another partition.
pub(crate) fn produce_to(topic: &str, index: i32) -> Request {
    produce_value(topic, index, b"v")
}

/// The same with this value.
pub(crate) fn produce_value(topic: &str, index: i32, value: &[u8]) -> Request {
    let mut batch = BatchBuilder::new(Compression::None, 1 << 16);
    batch.append(0, None, Some(value), &[]).unwrap();
    let records = Some(batch.finish().unwrap().bytes().clone());
    let data = PartitionProduceData { index, records };
    let topic =
        TopicProduceData { name: topic.into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() }
        .into()
}

/// Reads an answer, which must have nothing after it.
pub(crate) fn read(key: ApiKey, version: i16, answer: Bytes, correlation_id: i32) -> Response {
    let mut input = Reader::new(answer);
    let version = key.version(version);
    assert_eq!(read_response_header(&mut input, key, version).unwrap(), correlation_id);
    let response = Response::read(key, version, &mut input).unwrap();
    input.finish().unwrap();
    response
}

fn is_hangup(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
