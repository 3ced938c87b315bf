//! TLS on both ports, with a certificate of an authority of the tests' own.

use crate::support::RUNTIME;
use crate::support::process::{Tidelog, command};
use crate::support::raw::Raw;
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::Value;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tidelog_protocol::messages::{
    ApiVersionsRequest, FetchPartition, FetchRequest, FetchTopic, MetadataRequest,
    MetadataRequestTopic, PartitionProduceData, ProduceRequest, TopicProduceData,
};
use tidelog_protocol::records::{BatchBuilder, Compression};
use tidelog_protocol::{ErrorCode, Request, Response};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Puts `cert.pem` and `key.pem` into the directory; the certificate is for this machine.
fn issue(authority: &Authority, dir: &Path) {
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1"].map(str::to_owned);
    let params = CertificateParams::new(names).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

fn trusting(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A `tidelog dev` with a certificate, and who signed that.
fn start(required: &str) -> (TempDir, Authority, Tidelog) {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority();
    issue(&authority, dir.path());
    let settings = [
        ("TIDELOG_TLS_CERTIFICATE", "cert.pem"),
        ("TIDELOG_TLS_KEY", "key.pem"),
        ("TIDELOG_TLS_REQUIRED", required),
    ];
    let tidelog = Tidelog::dev_with(dir.path(), &settings);
    (dir, authority, tidelog)
}

fn get(authority: &Authority, tidelog: &Tidelog, url: &str) -> reqwest::Result<Value> {
    let root = reqwest::Certificate::from_der(authority.der()).unwrap();
    let client = tidelog::http_client::builder().tls_certs_only([root]).build().unwrap();
    let ready = &tidelog.ready;
    RUNTIME.block_on(async {
        let request = client.get(url).basic_auth(&ready.username, Some(&ready.password));
        request.send().await?.error_for_status()?.json().await
    })
}

/// A batch of one record, large enough that no buffer of TLS holds it.
fn large_batch(filler: u8) -> Bytes {
    let mut batch = BatchBuilder::new(Compression::None, 1 << 20);
    batch.append(0, None, Some(&vec![filler; 900_000]), &[]).unwrap();
    batch.finish().unwrap().bytes().clone()
}

fn produce(records: Bytes) -> (Request, i16) {
    let data = PartitionProduceData { index: 0, records: Some(records) };
    let topic =
        TopicProduceData { name: "t".into(), partition_data: vec![data], ..Default::default() };
    let request = ProduceRequest {
        acks: -1,
        timeout_ms: 9000,
        topic_data: vec![topic],
        ..Default::default()
    };
    (request.into(), 9)
}

fn fetch(offset: i64) -> (Request, i16) {
    let partition = FetchPartition {
        fetch_offset: offset,
        partition_max_bytes: 64 << 20,
        ..Default::default()
    };
    let topic = FetchTopic { topic: "t".into(), partitions: vec![partition], ..Default::default() };
    let request = FetchRequest {
        max_bytes: 64 << 20,
        min_bytes: 1,
        max_wait_ms: 9000,
        topics: vec![topic],
        ..Default::default()
    };
    (request.into(), 12)
}

/// Creates the topic `t`, as `dev` does for whoever asks about it.
fn create(raw: &mut Raw) {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..Default::default() };
    let request = MetadataRequest {
        topics: Some(vec![topic]),
        allow_auto_topic_creation: true,
        ..Default::default()
    };
    raw.call(request, 9);
}

fn is_served(raw: &mut Raw) -> bool {
    let Response::ApiVersions(answer) = raw.call(ApiVersionsRequest::default(), 0) else {
        return false;
    };
    answer.error_code == ErrorCode::NONE
}

#[test]
fn both_ports_take_tls_and_plaintext() {
    let (_dir, authority, tidelog) = start("false");
    let ready = &tidelog.ready;

    let mut raw = Raw::connect_tls(&ready.kafka, trusting(&authority));
    assert_eq!(raw.authenticate(&ready.username, &ready.password), ErrorCode::NONE);
    create(&mut raw);
    let batches: Vec<_> = (0..6).map(large_batch).collect();
    let sent: Vec<_> = batches.iter().map(|batch| produce(batch.clone())).collect();
    for answer in raw.pipeline(&sent) {
        let Response::Produce(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.responses[0].partition_responses[0].error_code, ErrorCode::NONE);
    }
    let fetched = raw.pipeline(&[fetch(0), fetch(3)]);
    for (answer, first) in fetched.iter().zip([0, 3]) {
        let Response::Fetch(answer) = answer else { panic!("{answer:?}") };
        let records = answer.responses[0].partitions[0].records.clone().unwrap();
        // What the broker changes of a batch are its offset and its leader's epoch, 16 bytes.
        let wanted = &batches[first..];
        assert_eq!(records.len(), wanted.iter().map(Bytes::len).sum::<usize>());
        for (found, wanted) in records.chunks(wanted[0].len()).zip(wanted) {
            assert!(found[16..] == wanted[16..], "another batch than was produced");
        }
    }
    assert!(is_served(&mut Raw::connect(&ready.kafka)));

    let port = ready.http.rsplit(':').next().unwrap();
    let https = format!("https://localhost:{port}");
    let connection = get(&authority, &tidelog, &format!("{https}/v1/connection")).unwrap();
    assert_eq!(connection["kafka"]["security_protocol"], "SASL_SSL");
    assert_eq!(connection["http"]["url"], https);
    get(&authority, &tidelog, &format!("{}/v1/connection", ready.http)).unwrap();

    let mut offering = (*trusting(&authority)).clone();
    offering.alpn_protocols = ["h2", "http/1.1"].map(Into::into).to_vec();
    let name = "localhost".try_into().unwrap();
    let mut tls = ClientConnection::new(Arc::new(offering), name).unwrap();
    let mut stream = TcpStream::connect(ready.http.trim_start_matches("http://")).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream).unwrap();
    }
    assert_eq!(tls.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn plaintext_is_refused_where_tls_is_required() {
    let (_dir, authority, tidelog) = start("true");
    let ready = &tidelog.ready;

    let mut plain = Raw::connect(&ready.kafka);
    plain.send(&[0, 0, 0, 10, 0, 18, 0, 0]);
    assert!(plain.rest().is_empty());
    tidelog.wait_for_log(&["closing", &plain.peer(), "tls_required"]);
    assert!(is_served(&mut Raw::connect_tls(&ready.kafka, trusting(&authority))));

    let mut plain = Raw::connect(ready.http.trim_start_matches("https://"));
    plain.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = String::from_utf8(plain.rest()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    get(&authority, &tidelog, &format!("{}/healthz", ready.http)).unwrap();

    // What begins like a hello and is none ends its own connection only.
    let mut broken = Raw::connect(&ready.kafka);
    broken.send(&[0x16, 3, 1, 0, 4, 9, 9, 9, 9]);
    broken.rest();
    tidelog.wait_for_log(&["closing", &broken.peer(), "TLS"]);
    assert!(is_served(&mut Raw::connect_tls(&ready.kafka, trusting(&authority))));
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let refused = |certificate: &str, key: &str| {
        let mut command = command(dir.path());
        command.args(["dev", "--tls-certificate", certificate, "--tls-key", key]);
        command.args(["--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let authority = authority();
    issue(&authority, dir.path());
    fs::rename(path("key.pem"), path("other.pem")).unwrap();
    issue(&authority, dir.path());
    fs::write(path("empty.pem"), "").unwrap();
    for (certificate, key, reason) in [
        ("none.pem", "key.pem", "tls_certificate: cannot read none.pem"),
        ("empty.pem", "key.pem", "no BEGIN CERTIFICATE in empty.pem"),
        ("cert.pem", "none.pem", "no private key in PEM to read in none.pem"),
        ("cert.pem", "cert.pem", "no private key in PEM to read in cert.pem"),
        ("cert.pem", "other.pem", "the key in other.pem does not go with the certificate"),
    ] {
        let error = refused(certificate, key);
        assert!(error.contains(reason), "{error}");
    }
}
