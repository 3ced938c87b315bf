//! The program under test, as a process of its own.

use super::wait;
use serde::Deserialize;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

/// The first line that `tidelog dev --output json` prints; scripts rely on exactly these fields.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ready {
    pub kafka: String,
    pub http: String,
    pub account: String,
    pub username: String,
    pub password: String,
    pub admin_token: String,
}

/// A free port.
const ANY: &str = "127.0.0.1:0";

/// A running Tidelog. Killed when dropped.
pub(crate) struct Tidelog {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    pub ready: Ready,
}

impl Tidelog {
    /// `tidelog dev` on this directory and free ports.
    pub(crate) fn dev(dir: &Path) -> Self {
        Self::start(command(dir), ANY, ANY)
    }

    /// `tidelog dev` on this directory and these addresses.
    pub(crate) fn dev_at(dir: &Path, kafka: &str, http: &str) -> Self {
        Self::start(command(dir), kafka, http)
    }

    /// `tidelog dev` that creates no topic because a client asked about it.
    pub(crate) fn dev_without_auto_create(dir: &Path) -> Self {
        let mut command = command(dir);
        command.env("TIDELOG_AUTO_CREATE_TOPICS", "false");
        Self::start(command, ANY, ANY)
    }

    /// `tidelog dev` on these addresses, whose clients are told to come to another.
    pub(crate) fn dev_behind(dir: &Path, kafka: &str, http: &str, advertised: &str) -> Self {
        let mut command = command(dir);
        command.env("TIDELOG_KAFKA_ADVERTISE", advertised);
        Self::start(command, kafka, http)
    }

    /// `tidelog dev` with settings of the environment.
    pub(crate) fn dev_with(dir: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = command(dir);
        command.envs(settings.iter().copied());
        Self::start(command, ANY, ANY)
    }

    fn start(mut command: Command, kafka: &str, http: &str) -> Self {
        let listen = ["--kafka-listen", kafka, "--http-listen", http];
        let mut child = command.arg("dev").args(listen).args(["--output", "json"]).spawn().unwrap();
        let log = gather_log(&mut child);
        let first = first_line(&mut child);
        let ready = serde_json::from_str(&first)
            .unwrap_or_else(|error| panic!("{error}: {first:?}; log: {:?}", log.lock().unwrap()));
        Self { child, log, ready }
    }

    /// A `tidelog serve` that was given all but its output's form.
    pub(crate) fn serve(mut command: Command) -> Self {
        const TOKEN: &str = "operator";
        let mut child = command.args(["--output", "json", "--admin-token", TOKEN]).spawn().unwrap();
        let log = gather_log(&mut child);
        let first: serde_json::Value = serde_json::from_str(&first_line(&mut child)).unwrap();
        let text = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
        let admin_token = TOKEN.to_owned();
        let (kafka, http) = (text("kafka"), text("http"));
        let nobody = String::new;
        let ready = Ready {
            kafka,
            http,
            admin_token,
            account: nobody(),
            username: nobody(),
            password: nobody(),
        };
        Self { child, log, ready }
    }

    /// SIGKILL, and nothing more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        wait::until("the process ends at SIGTERM", || self.child.try_wait().unwrap())
    }

    /// The first line of the log that holds all of `parts`.
    pub(crate) fn wait_for_log(&self, parts: &[&str]) -> String {
        wait::until(&format!("a log line with {parts:?}"), || {
            let log = self.log.lock().unwrap();
            log.iter().find(|line| parts.iter().all(|part| line.contains(part))).cloned()
        })
    }
}

impl Drop for Tidelog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of the process:\n{}", self.log.lock().unwrap().join("\n"));
        }
    }
}

/// The program on this data directory, untouched by the environment's settings.
pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TIDELOG_")) {
        command.env_remove(name);
    }
    command.env("TIDELOG_DATA_DIR", dir).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    line
}

fn gather_log(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let (gathered, stderr) = (log.clone(), child.stderr.take().unwrap());
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            gathered.lock().unwrap().push(line);
        }
    });
    log
}

/// A port that stays ours over restarts: below those the system gives to outgoing connections,
/// since a client that dials a port nobody listens on may be given that very port.
pub(crate) fn fixed_address() -> String {
    static TAKEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(Mutex::default);
    let mut taken = TAKEN.lock().unwrap();
    // Two runs at a time start in different places.
    let start = 10_000 + std::process::id() % 20_000;
    let ports = (0..2000).map(|step| (start + step) as u16);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = ports.into_iter().find(|port| !taken.contains(port) && free(port)).unwrap();
    taken.insert(port);
    format!("127.0.0.1:{port}")
}
