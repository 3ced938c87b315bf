//! TLS of both listeners: one certificate, taken anew from its files when they change.
//!
//! A port takes TLS and plaintext alike. What a client opens with tells which: the first byte of a
//! TLS hello is 0x16, which starts neither a Kafka frame that we would accept nor an HTTP request.

use crate::settings::TlsFiles;
use crate::task;
use anyhow::{Context, Result, bail};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The content type of a handshake: RFC 8446, section 5.1.
const HANDSHAKE: u8 = 0x16;
/// A client has this long to send its first byte, and to complete the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the files are looked at, for a certificate that was renewed.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// What an HTTP client over TLS may ask for; Kafka clients ask for nothing.
const ALPN: &[u8] = b"http/1.1";

/// A connection, as its client opened it.
pub enum Opened {
    /// Not encrypted.
    Plain(TcpStream),
    /// Encrypted; boxed, so that the others need no room for it.
    Tls(Box<TlsStream<TcpStream>>),
    /// Not encrypted, which is not allowed here.
    Refused(TcpStream),
}

/// What both listeners need to speak TLS.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
}

/// The certificate in use, and where it came from.
#[derive(Debug)]
struct Certificate {
    files: TlsFiles,
    current: RwLock<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().clone())
    }
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// When a file cannot be read, is not PEM, or the key is not the certificate's.
    pub fn load(files: TlsFiles) -> Result<Self> {
        let current = RwLock::new(Arc::new(read(&files)?));
        let certificate = Arc::new(Certificate { files, current });
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), certificate })
    }

    /// Looks at the files once an interval, for ever. What cannot be used is told, once, and
    /// changes nothing: the certificate in use may be good for a while yet.
    pub async fn renew(self, every: Duration) {
        let mut ticks = interval(every);
        let mut told = None;
        loop {
            ticks.tick().await;
            let certificate = self.certificate.clone();
            let refused = match task::blocking(move || certificate.refresh()).await {
                Ok(is_new) => {
                    if is_new {
                        tracing::info!("the TLS certificate was renewed");
                    }
                    None
                }
                Err(error) => Some(format!("{error:#}")),
            };
            if let Some(error) = refused.as_ref().filter(|_| refused != told) {
                tracing::warn!("the TLS certificate stays as it was: {error}");
            }
            told = refused;
        }
    }

    /// Shakes hands, if the client wants that.
    ///
    /// # Errors
    /// When the connection ends, the handshake fails, or either takes too long.
    async fn open(&self, stream: TcpStream) -> io::Result<Opened> {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            1 if first == [HANDSHAKE] => {
                Ok(Opened::Tls(Box::new(self.acceptor.accept(stream).await?)))
            }
            1 if self.certificate.files.required => Ok(Opened::Refused(stream)),
            _ => Ok(Opened::Plain(stream)),
        }
    }
}

impl Certificate {
    /// Takes what the files hold; whether it is another certificate.
    fn refresh(&self) -> Result<bool> {
        let found = read(&self.files)?;
        let is_new = found.cert != self.current.read().cert;
        if is_new {
            *self.current.write() = Arc::new(found);
        }
        Ok(is_new)
    }
}

/// Takes a connection as its client opened it; without `tls` there is nothing to find out.
///
/// # Errors
/// When the connection ends, the handshake fails, or either takes too long.
pub async fn open(tls: Option<&Tls>, stream: TcpStream) -> io::Result<Opened> {
    match tls {
        None => Ok(Opened::Plain(stream)),
        Some(tls) => timeout(HANDSHAKE_TIMEOUT, tls.open(stream)).await?,
    }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey> {
    let TlsFiles { certificate, key, .. } = files;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("tls_certificate: cannot read {}", certificate.display()))?;
    if chain.is_empty() {
        bail!(
            "tls_certificate: there is no BEGIN CERTIFICATE in {}; a PEM file with the \
             certificate and what leads to its authority is needed",
            certificate.display()
        );
    }
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| {
        format!("tls_key: there is no private key in PEM to read in {}", key.display())
    })?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).with_context(|| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("tls_key: the key in {key} does not go with the certificate in {certificate}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::generate_simple_self_signed;
    use std::fs;
    use std::path::Path;

    fn write(dir: &Path) -> TlsFiles {
        let made = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        fs::write(&certificate, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        TlsFiles { certificate, key, required: false }
    }

    #[test]
    fn a_renewed_certificate_is_taken_and_one_that_cannot_be_used_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path());
        let certificate = Tls::load(files.clone()).unwrap().certificate;
        let in_use = || certificate.current.read().cert.clone();
        let first = in_use();
        assert!(!certificate.refresh().unwrap());

        write(dir.path());
        assert!(certificate.refresh().unwrap());
        let second = in_use();
        assert_ne!(first, second);

        // Halfway through a renewal: another certificate, and not yet its key.
        let key = fs::read(&files.key).unwrap();
        write(dir.path());
        fs::write(&files.key, key).unwrap();
        certificate.refresh().unwrap_err();
        assert_eq!(in_use(), second);
    }

    #[tokio::test]
    async fn the_files_are_looked_at_again_and_again_also_after_one_that_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let files = write(dir.path());
        let tls = Tls::load(files.clone()).unwrap();
        let renewing = tokio::spawn(tls.clone().renew(Duration::from_millis(1)));
        for _ in 0..2 {
            let before = tls.certificate.current.read().clone();
            fs::write(&files.certificate, "no certificate").unwrap();
            tls.certificate.refresh().unwrap_err();
            write(dir.path());
            let renewed = async {
                while Arc::ptr_eq(&before, &tls.certificate.current.read()) {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(30), renewed).await.expect("the files are not looked at");
        }
        renewing.abort();
    }
}
