"""An Apache Kafka broker from Maven Central, and a Tidelog to hold against it.

TIDELOG_BIN names the broker's binary; target/release/tidelog when not set. Needs a JDK and Maven.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
LIB = ROOT / "target" / "clients" / "apache"
BIN = Path(os.environ.get("TIDELOG_BIN") or ROOT / "target" / "release" / "tidelog")
LIMIT_S = 120
CLUSTER_ID = "dGlkZWxvZy10aWRlbG9nLQ"
MEMORY = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def missing_tools():
    """What is not on the PATH."""
    return [tool for tool in ("java", "mvn") if not shutil.which(tool)]


def install():
    """Puts the classes of the Kafka that pom.xml names into LIB, and gives its version."""
    # Those of another version would be taken too.
    shutil.rmtree(LIB, ignore_errors=True)
    LIB.mkdir(parents=True)
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={LIB}"]
    subprocess.run(command, cwd=HERE, check=True)
    return next(LIB.glob("kafka_2.13-*.jar")).stem.rpartition("-")[2]


def command(main, *args, options=MEMORY, level="error"):
    """The command line of a class of Kafka's, which says on stderr what is of `level`."""
    options = [*options, f"-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"]
    return ["java", *options, "-cp", f"{LIB}/*", main, *map(str, args)]


def java(main, *args, stdin=None, check=True):
    """Runs a class of Kafka's and gives what it printed."""
    tool = command(main, *args)
    done = subprocess.run(tool, input=stdin, capture_output=True, text=True, timeout=LIMIT_S)
    if check and done.returncode != 0:
        raise AssertionError(f"{main} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Tidelog:
    """A running `tidelog dev`: its data in `work`/tidelog, its log in `work`/`name`.log."""

    def __init__(self, work, name):
        self.log = work / f"{name}.log"
        command = [BIN, "dev", "--data-dir", work / "tidelog", "--kafka-listen", "127.0.0.1:0"]
        command += ["--http-listen", "127.0.0.1:0", "--output", "json"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        ready = json.loads(self.process.stdout.readline())
        self.kafka, self.http = ready["kafka"], ready["http"]
        self.auth = b64encode(f"{ready['username']}:{ready['password']}".encode()).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(LIMIT_S)

    def create(self, topic, configs):
        body = {"name": topic, "partitions": 1, "configs": configs}
        headers = {"Authorization": f"Basic {self.auth}", "Content-Type": "application/json"}
        request = urllib.request.Request(
            f"{self.http}/v1/topics", json.dumps(body).encode(), headers, method="POST"
        )
        urllib.request.urlopen(request, timeout=LIMIT_S).close()


def format_logs(directory, port, tls_port=None, **more):
    """Formats `directory` for a broker that is its own controller; gives the broker's settings."""
    controller = free_port()
    serving = f"PLAINTEXT://127.0.0.1:{port}"
    serving += f",SSL://127.0.0.1:{tls_port}" if tls_port else ""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}",
        "listeners": f"{serving},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": serving,
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL",
        "log.dirs": directory,
        # One broker cannot hold three replicas: as in the server.properties that ships.
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        **more,
    }
    file = directory.with_suffix(".properties")
    file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    if not directory.exists():
        java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", file, "--standalone")
    return file


class Kafka:
    """A running Apache Kafka broker and controller, likewise with its data in `work`/kafka."""

    def __init__(self, work, name, **more):
        self.log, port = work / f"{name}.log", free_port()
        self.kafka = f"127.0.0.1:{port}"
        more = {"offsets.topic.num.partitions": 1, "group.initial.rebalance.delay.ms": 0, **more}
        settings = format_logs(work / "kafka", port, **more)
        with open(self.log, "wb") as log:
            broker = command("kafka.Kafka", settings, level="info")
            self.process = subprocess.Popen(broker, stdout=log, stderr=log)
        deadline = time.monotonic() + LIMIT_S
        while "Kafka Server started" not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.2)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(LIMIT_S)

    def create(self, topic):
        server = ["--bootstrap-server", self.kafka]
        java("org.apache.kafka.tools.TopicCommand", *server, "--create", "--topic", topic)
