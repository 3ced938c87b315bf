//! A connection to a broker that blocks, in two halves that different threads may hold.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tidelog_protocol::header::{RequestHeader, read_response_header};
use tidelog_protocol::messages::{
    ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use tidelog_protocol::{ApiKey, Reader, Request, Response, Str, Writer};

/// A broker that says nothing for this long, or takes nothing, is given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is longer: brokers cap a fetch at 55 MiB and its first batch.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What a broker has to serve.
const NEEDED: [ApiKey; 5] =
    [ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::Metadata, ApiKey::CreateTopics];

/// The version that is spoken: old enough for the brokers of the last years, and one in which
/// topics go by name.
fn version(key: ApiKey) -> i16 {
    match key {
        ApiKey::Produce => 9,
        ApiKey::Fetch => 12,
        ApiKey::ListOffsets => 6,
        ApiKey::Metadata => 9,
        ApiKey::CreateTopics => 5,
        ApiKey::SaslHandshake | ApiKey::SaslAuthenticate => 1,
        _ => 0,
    }
}

/// A connection on which nothing is under way.
pub(super) struct Connection {
    pub sender: Sender,
    pub receiver: Receiver,
}

/// The half that asks.
pub(super) struct Sender {
    stream: TcpStream,
    correlation_id: i32,
}

/// The half that is answered, in the order of the requests.
pub(super) struct Receiver {
    stream: TcpStream,
    correlation_id: i32,
    /// Kept from answer to answer, as long as the longest so far.
    buffer: BytesMut,
}

/// Who to be, with SASL/PLAIN.
pub(super) struct Login<'a> {
    pub username: &'a str,
    pub password: &'a str,
}

impl Connection {
    /// Connects, and sees that the broker speaks what is needed.
    pub(super) fn open(address: &str, login: Option<&Login>) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .with_context(|| format!("no broker answers at {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let sender = Sender { stream: stream.try_clone()?, correlation_id: 0 };
        let receiver = Receiver { stream, correlation_id: 0, buffer: BytesMut::new() };
        let mut connection = Self { sender, receiver };
        connection.check_versions().with_context(|| format!("{address} cannot be measured"))?;
        if let Some(login) = login {
            connection.authenticate(login)?;
        }
        Ok(connection)
    }

    /// Asks and waits for the answer.
    pub(super) fn call(&mut self, request: impl Into<Request>) -> Result<Response> {
        let request = request.into();
        self.sender.send(&request)?;
        self.receiver.receive(request.api_key(), Clone::clone)
    }

    fn check_versions(&mut self) -> Result<()> {
        let Response::ApiVersions(served) = self.call(ApiVersionsRequest::default())? else {
            bail!("it does not say which APIs it serves");
        };
        for key in NEEDED {
            let version = version(key);
            let range = served.api_keys.iter().find(|it| it.api_key == key as i16);
            match range.map(|it| (it.min_version, it.max_version)) {
                Some((min, max)) if (min..=max).contains(&version) => {}
                Some((min, max)) => {
                    let name = key.name();
                    bail!("it serves {name} {min} to {max}, and version {version} is needed")
                }
                None => bail!("it does not serve {}", key.name()),
            }
        }
        Ok(())
    }

    fn authenticate(&mut self, login: &Login) -> Result<()> {
        self.call(SaslHandshakeRequest { mechanism: Str::from_static("PLAIN") })?;
        let auth_bytes = format!("\0{}\0{}", login.username, login.password).into();
        match self.call(SaslAuthenticateRequest { auth_bytes })? {
            Response::SaslAuthenticate(it) if it.error_code.is_none() => Ok(()),
            Response::SaslAuthenticate(it) => bail!(
                "{} is refused: {}",
                login.username,
                it.error_message.as_deref().unwrap_or(it.error_code.message())
            ),
            _ => bail!("the broker answered something else than was asked"),
        }
    }
}

impl Sender {
    /// Sends a request.
    pub(super) fn send(&mut self, request: &Request) -> Result<()> {
        let key = request.api_key();
        let header = RequestHeader {
            key,
            version: key.version(version(key)),
            correlation_id: self.correlation_id,
            client_id: Some(Str::from_static("tidelog-bench")),
        };
        // What is not answered takes no number, so that both halves count alike.
        if !matches!(request, Request::Produce(it) if it.acks == 0) {
            self.correlation_id = self.correlation_id.wrapping_add(1);
        }
        let mut out = Writer::default();
        header.write(&mut out);
        request.write(&mut out, header.version);
        let parts = out.into_frame();
        let mut slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let written = self.stream.write_vectored(left).map_err(explain)?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }
}

impl Receiver {
    /// Waits for the next answer, and gives what `take` makes of it. Nothing of the answer may be
    /// kept in that: its bytes are overwritten by the next.
    pub(super) fn receive<T>(
        &mut self,
        key: ApiKey,
        take: impl FnOnce(&Response) -> T,
    ) -> Result<T> {
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix).map_err(explain)?;
        let len = u32::from_be_bytes(prefix) as usize;
        if len > ANSWER_BYTES_MAX {
            bail!("an answer of {len} bytes is announced: this is no Kafka listener");
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        self.stream.read_exact(&mut buffer[..len]).map_err(explain)?;
        let whole = buffer.freeze();
        let taken = self.read(key, whole.slice(..len), take);
        self.buffer = whole.try_into_mut().unwrap_or_default();
        taken
    }

    fn read<T>(
        &mut self,
        key: ApiKey,
        frame: Bytes,
        take: impl FnOnce(&Response) -> T,
    ) -> Result<T> {
        let version = key.version(version(key));
        let mut input = Reader::new(frame);
        let correlation_id = read_response_header(&mut input, key, version)?;
        if correlation_id != self.correlation_id {
            bail!("answer {correlation_id} came where {} was due", self.correlation_id);
        }
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let response = Response::read(key, version, &mut input)
            .with_context(|| format!("cannot read the broker's answer to {}", key.name()))?;
        Ok(take(&response))
    }
}

fn explain(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            anyhow::anyhow!("the broker said nothing for {PATIENCE:?}")
        }
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            anyhow::anyhow!("the broker hung up; its log may say why")
        }
        _ => error.into(),
    }
}
