//! What an operator can set: by flag, by environment, by file, in that order.

use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidelog_storage::Flush;

/// The files TLS needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the certificate, and what leads to its authority.
    pub certificate: PathBuf,
    /// PEM: the certificate's private key.
    pub key: PathBuf,
    /// Whether plaintext is refused.
    pub required: bool,
}

/// Everything the broker was told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where Kafka clients connect; port 0 picks a free one.
    pub kafka_listen: SocketAddr,
    /// `host:port` that Kafka clients are told, instead of the address they reached.
    pub kafka_advertise: Option<(String, u16)>,
    /// Where HTTP clients connect; port 0 picks a free one.
    pub http_listen: SocketAddr,
    /// What both listeners need to take TLS beside plaintext, or in its place.
    pub tls: Option<TlsFiles>,
    /// Whether a topic is created when a client asks about one that does not exist.
    pub auto_create_topics: bool,
    /// Partitions of a topic when nobody says how many.
    pub default_partitions: i32,
    /// How long the first member of a group waits for others.
    pub group_initial_rebalance_delay: Duration,
    /// How long a member of a consumer group may be silent.
    pub group_consumer_session_timeout: Duration,
    /// How often a member of a consumer group is to heartbeat.
    pub group_consumer_heartbeat_interval: Duration,
    /// Whether a loopback client without credentials is the `dev` account, and webhooks may go to
    /// private addresses. Only `tidelog dev` sets this.
    pub dev: bool,
    /// When records become durable, in topics that do not have it otherwise.
    pub flush: Flush,
    /// Bytes that compaction reads and writes in a second, of all accounts; Kafka's
    /// `log.cleaner.io.max.bytes.per.second`, which is without a bound there unless set.
    pub compaction_bytes_per_second: u64,
    /// Bytes that are read again in a second, to find damage.
    pub scrub_bytes_per_second: u64,
    /// The bearer token of the management API; made at the first start when absent.
    pub admin_token: Option<String>,
}

/// The same, each optional: what one source says. In a file an unknown key is an error.
#[derive(Clone, Debug, Default, Deserialize, clap::Args)]
pub struct Layer {
    /// Directory that holds everything [default: ./tidelog-data]
    #[arg(long, env = "TIDELOG_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address for Kafka clients; port 0 picks a free one [default: 127.0.0.1:9092]
    #[arg(long, env = "TIDELOG_KAFKA_LISTEN", value_name = "ADDR:PORT")]
    pub kafka_listen: Option<SocketAddr>,
    /// What Kafka clients are told to connect to [default: the address they reached]
    #[arg(long, env = "TIDELOG_KAFKA_ADVERTISE", value_name = "HOST:PORT")]
    pub kafka_advertise: Option<String>,
    /// Address for REST, ingest, webhooks and the console; port 0 picks a free one
    /// [default: 127.0.0.1:8080]
    #[arg(long, env = "TIDELOG_HTTP_LISTEN", value_name = "ADDR:PORT")]
    pub http_listen: Option<SocketAddr>,
    /// Certificate for TLS on both ports, in PEM; read again when it changes
    #[arg(long, env = "TIDELOG_TLS_CERTIFICATE", value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM
    #[arg(long, env = "TIDELOG_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Refuse clients that do not use TLS [default: false]
    #[arg(long, env = "TIDELOG_TLS_REQUIRED", value_name = "BOOL")]
    pub tls_required: Option<bool>,
    /// Create topics that clients ask about [default: false, in dev true]
    #[arg(long, env = "TIDELOG_AUTO_CREATE_TOPICS", value_name = "BOOL")]
    pub auto_create_topics: Option<bool>,
    /// Partitions of a topic when nobody says how many [default: 1]
    #[arg(long, env = "TIDELOG_DEFAULT_PARTITIONS", value_name = "COUNT")]
    pub default_partitions: Option<i32>,
    /// Milliseconds the first member of a group waits for others [default: 3000, in dev 0]
    #[arg(long, env = "TIDELOG_GROUP_INITIAL_REBALANCE_DELAY_MS", value_name = "MS")]
    pub group_initial_rebalance_delay_ms: Option<u64>,
    /// Milliseconds that a member of a consumer group may be silent [default: 45000]
    #[arg(long, env = "TIDELOG_GROUP_CONSUMER_SESSION_TIMEOUT_MS", value_name = "MS")]
    pub group_consumer_session_timeout_ms: Option<u64>,
    /// Milliseconds between heartbeats of a member of a consumer group [default: 5000, in dev 1000]
    #[arg(long, env = "TIDELOG_GROUP_CONSUMER_HEARTBEAT_INTERVAL_MS", value_name = "MS")]
    pub group_consumer_heartbeat_interval_ms: Option<u64>,
    /// When records become durable: commit (before they are acknowledged), interval:DURATION or
    /// never. The last two lose acknowledged records when the power fails [default: commit]
    #[arg(long, env = "TIDELOG_FLUSH", value_name = "WHEN")]
    pub flush: Option<String>,
    /// Bytes that compaction reads and writes in a second [default: 67108864]
    #[arg(long, env = "TIDELOG_COMPACTION_BYTES_PER_SECOND", value_name = "BYTES")]
    pub compaction_bytes_per_second: Option<u64>,
    /// Bytes that are read again in a second, to find damage [default: 8388608]
    #[arg(long, env = "TIDELOG_SCRUB_BYTES_PER_SECOND", value_name = "BYTES")]
    pub scrub_bytes_per_second: Option<u64>,
    /// Bearer token of the management API [default: made at the first start]
    #[arg(long, env = "TIDELOG_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    #[arg(allow_hyphen_values = true)]
    pub admin_token: Option<String>,
}

/// The keys a file may have: what the flags are called.
fn keys() -> Vec<String> {
    let command = <Layer as clap::Args>::augment_args(clap::Command::new(""));
    command.get_arguments().map(|it| it.get_id().to_string()).collect()
}

/// Read when no file is named and it is there.
pub const DEFAULT_FILE: &str = "tidelog.toml";

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML, or a value is of the wrong type.
    #[error("{path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// The file has a key we do not know.
    #[error("{path}: unknown key '{key}'{hint}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// The nearest known one.
        hint: String,
    },
    /// A value that cannot be.
    #[error("{name}: {reason}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl Layer {
    /// Reads a file; without `path`, [`DEFAULT_FILE`] if it is there.
    pub fn from_file(path: Option<&Path>) -> Result<Self, Error> {
        let path = match path {
            Some(path) => path,
            None if Path::new(DEFAULT_FILE).exists() => Path::new(DEFAULT_FILE),
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let parse = |source| Error::Parse { path: path.to_owned(), source };
        let table: toml::Table = toml::from_str(text).map_err(parse)?;
        let known = keys();
        if let Some(key) = table.keys().find(|key| !known.contains(key)) {
            let (path, key) = (path.to_owned(), key.clone());
            return Err(Error::UnknownKey { hint: nearest(&key, &known), path, key });
        }
        toml::from_str(text).map_err(parse)
    }

    /// This layer, and below it another.
    pub fn over(self, below: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(below.data_dir),
            kafka_listen: self.kafka_listen.or(below.kafka_listen),
            kafka_advertise: self.kafka_advertise.or(below.kafka_advertise),
            http_listen: self.http_listen.or(below.http_listen),
            tls_certificate: self.tls_certificate.or(below.tls_certificate),
            tls_key: self.tls_key.or(below.tls_key),
            tls_required: self.tls_required.or(below.tls_required),
            auto_create_topics: self.auto_create_topics.or(below.auto_create_topics),
            default_partitions: self.default_partitions.or(below.default_partitions),
            group_initial_rebalance_delay_ms: self
                .group_initial_rebalance_delay_ms
                .or(below.group_initial_rebalance_delay_ms),
            group_consumer_session_timeout_ms: self
                .group_consumer_session_timeout_ms
                .or(below.group_consumer_session_timeout_ms),
            group_consumer_heartbeat_interval_ms: self
                .group_consumer_heartbeat_interval_ms
                .or(below.group_consumer_heartbeat_interval_ms),
            flush: self.flush.or(below.flush),
            compaction_bytes_per_second: self
                .compaction_bytes_per_second
                .or(below.compaction_bytes_per_second),
            scrub_bytes_per_second: self.scrub_bytes_per_second.or(below.scrub_bytes_per_second),
            admin_token: self.admin_token.or(below.admin_token),
        }
    }

    /// The settings, with defaults for `tidelog dev` or `tidelog serve`.
    pub fn settings(self, dev: bool) -> Result<Settings, Error> {
        let default_partitions = self.default_partitions.unwrap_or(1);
        if !(1..=crate::topic::PARTITIONS_MAX).contains(&default_partitions) {
            let reason = format!(
                "{default_partitions} is not possible: 1 to {} are",
                crate::topic::PARTITIONS_MAX
            );
            return Err(Error::Invalid { name: "default_partitions", reason });
        }
        if self.admin_token.as_ref().is_some_and(|token| token.trim().is_empty()) {
            let reason = "is empty: give a token, or none at all to have one made".to_owned();
            return Err(Error::Invalid { name: "admin_token", reason });
        }
        let delay_ms = if dev { 0 } else { 3000 };
        let (session, heartbeat) = consumer_timeouts(
            self.group_consumer_session_timeout_ms,
            self.group_consumer_heartbeat_interval_ms,
            dev,
        )?;
        Ok(Settings {
            data_dir: self.data_dir.unwrap_or_else(|| "./tidelog-data".into()),
            kafka_listen: self.kafka_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9092))),
            kafka_advertise: self.kafka_advertise.as_deref().map(host_and_port).transpose()?,
            http_listen: self.http_listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 8080))),
            tls: tls_files(self.tls_certificate, self.tls_key, self.tls_required)?,
            auto_create_topics: self.auto_create_topics.unwrap_or(dev),
            default_partitions,
            group_initial_rebalance_delay: Duration::from_millis(
                self.group_initial_rebalance_delay_ms.unwrap_or(delay_ms),
            ),
            group_consumer_session_timeout: session,
            group_consumer_heartbeat_interval: heartbeat,
            dev,
            flush: self.flush.as_deref().map_or(Ok(Flush::Commit), flush)?,
            compaction_bytes_per_second: rate(
                "compaction_bytes_per_second",
                self.compaction_bytes_per_second,
                COMPACTION_BYTES_PER_SECOND,
            )?,
            scrub_bytes_per_second: rate(
                "scrub_bytes_per_second",
                self.scrub_bytes_per_second,
                SCRUB_BYTES_PER_SECOND,
            )?,
            admin_token: self.admin_token,
        })
    }
}

/// A few hundredths of what a disk of today does, and the rest is for records.
const COMPACTION_BYTES_PER_SECOND: u64 = 64 << 20;
/// A hundredth of what a disk of today reads: 5 TB a week.
const SCRUB_BYTES_PER_SECOND: u64 = 8 << 20;
/// What is read at once takes a second then.
const BYTES_PER_SECOND_MIN: u64 = 1 << 20;

fn rate(name: &'static str, given: Option<u64>, default: u64) -> Result<u64, Error> {
    match given.unwrap_or(default) {
        rate @ BYTES_PER_SECOND_MIN.. => Ok(rate),
        rate => {
            let reason = format!("{rate} is not possible: at least {BYTES_PER_SECOND_MIN}");
            Err(Error::Invalid { name, reason })
        }
    }
}

/// Session timeout and heartbeat interval of consumer groups. In `dev` members hear sooner of each
/// other: a rebalance takes as long as the next heartbeat of whoever has to give something back.
fn consumer_timeouts(
    session_ms: Option<u64>,
    heartbeat_ms: Option<u64>,
    dev: bool,
) -> Result<(Duration, Duration), Error> {
    let session_ms = session_ms.unwrap_or(45_000);
    let heartbeat_ms = heartbeat_ms.unwrap_or(if dev { 1000 } else { 5000 });
    if heartbeat_ms == 0 || heartbeat_ms >= session_ms {
        let reason = format!(
            "{heartbeat_ms} is not possible: at least 1, and less than the session timeout of \
             {session_ms}"
        );
        return Err(Error::Invalid { name: "group_consumer_heartbeat_interval_ms", reason });
    }
    Ok((Duration::from_millis(session_ms), Duration::from_millis(heartbeat_ms)))
}

fn tls_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    required: Option<bool>,
) -> Result<Option<TlsFiles>, Error> {
    let missing = |name, reason: &str| Err(Error::Invalid { name, reason: reason.to_owned() });
    let required = required.unwrap_or(false);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, required })),
        (Some(_), None) => missing("tls_key", "tls_certificate is set, and its key is needed too"),
        (None, Some(_)) => {
            missing("tls_certificate", "tls_key is set, and its certificate is needed too")
        }
        (None, None) if required => {
            missing("tls_required", "TLS needs tls_certificate and tls_key")
        }
        (None, None) => Ok(None),
    }
}

/// Clients would dial a wildcard address on their own machine, so it is refused here.
fn host_and_port(text: &str) -> Result<(String, u16), Error> {
    let invalid = |reason: String| Error::Invalid { name: "kafka_advertise", reason };
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let Some((host, port)) = parts.filter(|(host, _)| !host.is_empty()) else {
        return Err(invalid(format!("'{text}' is not HOST:PORT")));
    };
    if matches!(host, "0.0.0.0" | "[::]" | "::") {
        let text = "is where to listen, not an address a client can connect to; name a host";
        return Err(invalid(format!("{host} {text}")));
    }
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// Reads `commit`, `never` or `interval:500ms`.
fn flush(text: &str) -> Result<Flush, Error> {
    let interval = || humantime::parse_duration(text.strip_prefix("interval:")?).ok();
    match text {
        "commit" => Ok(Flush::Commit),
        "never" => Ok(Flush::Never),
        _ => interval().map(Flush::Interval).ok_or_else(|| {
            let reason = format!(
                "'{text}' is none of commit, never, and interval: with a duration, such as \
                 interval:500ms"
            );
            Error::Invalid { name: "flush", reason }
        }),
    }
}

/// What an operator should know who has chosen a weaker flush than the default.
pub fn flush_risk(flush: Flush) -> Option<String> {
    let since = match flush {
        Flush::Commit | Flush::Manual => return None,
        Flush::Interval(interval) => {
            format!("flush is every {}", humantime::format_duration(interval))
        }
        Flush::Never => "flush is never".to_owned(),
    };
    Some(format!(
        "{since}: records are acknowledged and read before they are on disk, and a power cut or \
         a crash of the system takes back those since the last sync; a crash of this process \
         alone does not"
    ))
}

fn nearest(key: &str, known: &[String]) -> String {
    let near = known.iter().map(|known| (strsim::jaro_winkler(key, known), known));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((similarity, known)) if similarity > 0.7 => format!("; did you mean '{known}'?"),
        _ => format!("; known keys are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Layer, Error> {
        Layer::parse(text, Path::new("tidelog.toml"))
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = parse("kafka_lisen = \"127.0.0.1:1\"").unwrap_err().to_string();
        assert!(error.contains("'kafka_lisen'") && error.contains("'kafka_listen'"), "{error}");
    }

    #[test]
    fn whatever_has_a_flag_has_a_key() {
        // Of no setting's type, so that each is refused by its field.
        for key in keys() {
            let error = parse(&format!("{key} = {{}}")).unwrap_err();
            assert!(matches!(error, Error::Parse { .. }), "{key}: {error}");
        }
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let file = parse("default_partitions = 4\ndata_dir = \"/a\"").unwrap();
        let flags = Layer { data_dir: Some("/b".into()), ..Layer::default() };
        let settings = flags.over(file).settings(false).unwrap();
        assert_eq!(settings.data_dir, Path::new("/b"));
        assert_eq!(settings.default_partitions, 4);
        assert_eq!(settings.kafka_listen.port(), 9092);
    }

    #[test]
    fn background_work_has_a_rate_and_none_so_low_that_it_never_ends() {
        let read = |text: &str| parse(text).unwrap().settings(false);
        let rates = |it: Settings| (it.compaction_bytes_per_second, it.scrub_bytes_per_second);
        assert_eq!(rates(read("").unwrap()), (64 << 20, 8 << 20));
        let given = "compaction_bytes_per_second = 1048576\nscrub_bytes_per_second = 2000000";
        assert_eq!(rates(read(given).unwrap()), (1 << 20, 2_000_000));
        for name in ["compaction_bytes_per_second", "scrub_bytes_per_second"] {
            let error = read(&format!("{name} = 1000")).unwrap_err().to_string();
            assert_eq!(error, format!("{name}: 1000 is not possible: at least 1048576"));
        }
    }

    #[test]
    fn an_admin_token_that_anyone_can_give_is_refused() {
        for blank in ["", " "] {
            let layer = Layer { admin_token: Some(blank.to_owned()), ..Layer::default() };
            let error = layer.settings(false).unwrap_err().to_string();
            assert!(error.starts_with("admin_token: is empty"), "{error}");
        }
    }

    #[test]
    fn a_flush_is_read_and_a_weaker_one_says_what_it_risks() {
        let read = |text: &str| parse(&format!("flush = \"{text}\"")).unwrap().settings(false);
        assert_eq!(Layer::default().settings(false).unwrap().flush, Flush::Commit);
        assert_eq!(read("commit").unwrap().flush, Flush::Commit);
        assert_eq!(read("never").unwrap().flush, Flush::Never);
        let interval = read("interval:1s 500ms").unwrap().flush;
        assert_eq!(interval, Flush::Interval(Duration::from_millis(1500)));
        for wrong in ["", "always", "interval", "interval:", "interval:5", "interval:-1s"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("interval:500ms"), "{error}");
        }
        assert_eq!(flush_risk(Flush::Commit), None);
        let risk = flush_risk(interval).unwrap();
        assert!(risk.starts_with("flush is every 1s 500ms: records are acknowledged"), "{risk}");
    }

    #[test]
    fn tls_wants_a_certificate_and_its_key() {
        let read = |text: &str| parse(text).unwrap().settings(false);
        let both = "tls_certificate = \"c\"\ntls_key = \"k\"";
        let files = read(both).unwrap().tls.unwrap();
        assert_eq!((files.certificate.as_path(), files.required), (Path::new("c"), false));
        assert!(read(&format!("{both}\ntls_required = true")).unwrap().tls.unwrap().required);
        for (wrong, missing) in [
            ("tls_certificate = \"c\"", "tls_key: "),
            ("tls_key = \"k\"", "tls_certificate: "),
            ("tls_required = true", "tls_certificate and tls_key"),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
    }

    #[test]
    fn a_wildcard_address_is_not_advertised() {
        let layer = Layer { kafka_advertise: Some("0.0.0.0:9092".into()), ..Layer::default() };
        let error = layer.settings(false).unwrap_err().to_string();
        assert!(error.contains("0.0.0.0"), "{error}");
        assert_eq!(host_and_port("[::1]:9").unwrap(), ("::1".to_owned(), 9));
    }
}
