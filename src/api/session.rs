//! What a connection knows of its client.

use super::fetch::SessionSlot;
use super::sasl::Sasl;
use crate::account::DEV_ACCOUNT;
use crate::broker::{Broker, Principal};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use tidelog_protocol::Str;
use tokio::net::TcpStream;

/// A client's connection.
pub struct Session {
    /// Who may be asked who this is.
    pub broker: Arc<Broker>,
    /// The client's address.
    pub peer: SocketAddr,
    /// Where the client reached us, or what the operator has clients told: `host` and `port` for
    /// Metadata and FindCoordinator.
    pub advertised: (Str, u16),
    /// Who the client is, once that is known.
    pub principal: Option<Principal>,
    /// Where the SASL exchange stands.
    pub sasl: Sasl,
    /// Name and version of the client's software, if it said (ApiVersions 3 and later).
    pub software: Option<(Str, Str)>,
    /// The fetch session, if the client opened one.
    pub fetch: Arc<SessionSlot>,
}

impl Session {
    /// A connection that has just been accepted.
    pub fn new(
        broker: &Arc<Broker>,
        stream: &TcpStream,
        peer: SocketAddr,
    ) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let settings = &broker.shared.settings;
        let advertised = match &settings.kafka_advertise {
            Some((host, port)) => (Str::from(host.as_str()), *port),
            None => (local.ip().to_canonical().to_string().into(), local.port()),
        };
        let loopback =
            peer.ip().to_canonical().is_loopback() && local.ip().to_canonical().is_loopback();
        let principal = (settings.dev && loopback)
            .then(|| broker.cluster_by_name(DEV_ACCOUNT))
            .flatten()
            .map(|cluster| Principal { username: "anonymous".to_owned(), cluster });
        Ok(Self { principal, ..Self::unknown(broker, peer, advertised) })
    }

    /// The connection of a client of whom nothing is known but where it is.
    pub fn unknown(broker: &Arc<Broker>, peer: SocketAddr, advertised: (Str, u16)) -> Self {
        Self {
            broker: broker.clone(),
            peer,
            advertised,
            principal: None,
            sasl: Sasl::default(),
            software: None,
            fetch: Arc::default(),
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.peer)?;
        match &self.software {
            Some((name, version)) => write!(f, " ({name} {version})"),
            None => Ok(()),
        }
    }
}
