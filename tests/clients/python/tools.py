"""The scenarios with Kafka's own shell tools: the classes that the scripts start."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from matrix import (BOOTSTRAP, CA, PASSWORD, SECURITY, SESSION_TIMEOUT_MS, TOO_LARGE, USERNAME, WAIT_S, expect,
                    run)

JAVA = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xlog:disable"]
JARS = os.environ["TIDELOG_TOOLS"]
# What the first of so many short runs has loaded, which takes the others half as long to load.
CLASSES = Path(JARS).parents[1] / "classes.jsa"
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
}
# Headers, key and value, as the console tools write them; nothing that is not text.
LINES = [
    "trace:abc,empty:\tplain\thello",
    "NULL\tNULL\tno key",
    "NULL\tgone\tNULL",
    "naïve:☃\tключ\tnaïve ☃ 東京",
    "NULL\tempty\t",
    "NULL\tlarge\t" + "0123456789abcdef" * 56_250,
]


def config_file(password, **more):
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    trust = {"ssl.truststore.type": "PEM", "ssl.truststore.location": CA} if CA else {}
    config = {
        "security.protocol": SECURITY, **trust, "sasl.mechanism": "PLAIN",
        "sasl.jaas.config": f'{login} username="{USERNAME}" password="{password}";', **more}
    with tempfile.NamedTemporaryFile("w", suffix=".properties", delete=False) as file:
        file.writelines(f"{name}={value}\n" for name, value in config.items())
    return file.name


LOGIN = config_file(PASSWORD)


def command(tool, *arguments, config=LOGIN):
    login = ["--bootstrap-server", BOOTSTRAP, "--command-config", config]
    classes = f"-XX:SharedArchiveFile={CLASSES}"
    return [*JAVA, classes, "-cp", JARS, TOOLS[tool], *login, *arguments]


def keep_classes():
    """Has a run of a tool keep the classes that it loads, if none has."""
    if CLASSES.exists():
        return
    new = CLASSES.with_suffix(f".{os.getpid()}")
    keep = [*JAVA, f"-XX:ArchiveClassesAtExit={new}", "-cp", JARS, TOOLS["topics"],
            "--bootstrap-server", BOOTSTRAP, "--command-config", LOGIN, "--list"]
    subprocess.run(keep, timeout=WAIT_S, capture_output=True)
    if new.exists():
        new.rename(CLASSES)


def kafka(tool, *arguments, stdin="", config=LOGIN):
    """What the tool says."""
    done = subprocess.run(command(tool, *arguments, config=config), input=stdin.encode(),
                          timeout=WAIT_S, capture_output=True)
    said, errors = done.stdout.decode(), done.stderr.decode()
    sys.stderr.write(errors)
    if done.returncode != 0 or "ERROR" in errors:
        raise RuntimeError(said + errors)
    return said


def error_of(*arguments, **options):
    try:
        return kafka(*arguments, **options)
    except RuntimeError as error:
        return str(error)


def expect_said(said, pattern):
    expect(f"'{pattern}' in what it said: {said[:300]}", bool(re.search(pattern, said)), True)


def create_topic(topic, partitions=1):
    kafka("topics", "--create", "--topic", topic, "--partitions", str(partitions))


def produce(topic, lines, *arguments, config=LOGIN):
    return kafka("console-producer", "--topic", topic, *arguments, stdin="\n".join(lines) + "\n",
                 config=config)


def consume(topic, count, *arguments):
    said = kafka("console-consumer", "--topic", topic, "--max-messages", str(count), *arguments)
    return [line for line in said.splitlines() if not line.startswith("The consumer rebalance")]


def create():
    keep_classes()
    create_topic("create", 3)
    again = error_of("topics", "--create", "--topic", "create", "--partitions", "3")
    expect_said(again, "already exists")


def compression(codec):
    create_topic(codec)
    properties = ["parse.key=true", "parse.headers=true", "null.marker=NULL"]
    arguments = [part for it in properties for part in ("--reader-property", it)]
    produce(codec, LINES, *arguments, "--compression-codec", codec)
    properties = ["print.key=true", "print.headers=true", "null.literal=NULL"]
    arguments = [part for it in properties for part in ("--formatter-property", it)]
    got = consume(codec, len(LINES), "--from-beginning", *arguments)
    wanted = [line.replace("NULL\t", "NO_HEADERS\t", 1) if line.startswith("NULL") else line
              for line in LINES]
    expect("records", got, wanted)


def numbers(start, end):
    return [str(number) for number in range(start, end)]


def end_offset(topic, when):
    return kafka("get-offsets", "--topic", topic, "--time", when).splitlines()[-1]


def offsets():
    create_topic("offsets")
    produce("offsets", numbers(0, 5))
    middle = str(int(time.time() * 1000))
    produce("offsets", numbers(5, 10))
    for when, wanted in (("-2", 0), ("-1", 10), (middle, 5)):
        expect(f"offset at {when}", end_offset("offsets", when), f"offsets:0:{wanted}")
    expect("earliest", consume("offsets", 10, "--from-beginning"), numbers(0, 10))
    at = ["--partition", "0", "--offset"]
    expect("at an offset", consume("offsets", 5, *at, "5"), numbers(5, 10))
    before = {"partitions": [{"topic": "offsets", "partition": 0, "offset": 3}], "version": 1}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(before, file)
        file.flush()
        said = kafka("delete-records", "--offset-json-file", file.name)
    expect_said(said, "offsets-0.*low_watermark: 3")
    expect("earliest left", end_offset("offsets", "-2"), "offsets:0:3")


def group():
    create_topic("group", 3)
    produce("group", numbers(0, 15))
    got = consume("group", 15, "--from-beginning", "--group", "group")
    expect("records", sorted(got, key=int), numbers(0, 15))


def member(name):
    line = command("verifiable-consumer", "--topic", name, "--group-id", name,
                   "--session-timeout", str(SESSION_TIMEOUT_MS))
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=sys.stderr)


def await_owned(process, count):
    for line in process.stdout:
        if line.startswith(b"{"):
            said = json.loads(line)
            if said["name"] == "partitions_assigned" and len(said["partitions"]) == count:
                return
    raise AssertionError(f"the consumer ended before it owned {count} partitions")


def take_over(name, stop):
    create_topic(name, 4)
    stays = member(name)
    await_owned(stays, 4)
    goes = member(name)
    await_owned(goes, 2)
    await_owned(stays, 2)
    stop(goes)
    await_owned(stays, 4)
    stays.kill()


def resume():
    create_topic("resume")
    produce("resume", numbers(0, 10))
    expect("first", consume("resume", 5, "--from-beginning", "--group", "resume"), numbers(0, 5))
    expect("resumed", consume("resume", 5, "--group", "resume"), numbers(5, 10))
    said = kafka("consumer-groups", "--describe", "--group", "resume")
    expect_said(said, r"resume +resume +0 +10 +10 +0")


def topics():
    create_topic("topics", 3)
    expect("listed", "topics" in kafka("topics", "--list").split(), True)
    expect_said(kafka("topics", "--describe", "--topic", "topics"), "PartitionCount: 3")
    expect_said(kafka("log-dirs", "--describe", "--topic-list", "topics"), '"topics-2"')


def configs():
    create_topic("configs")
    topic = ["--entity-type", "topics", "--entity-name", "configs"]
    expect_said(kafka("configs", "--describe", "--all", *topic), "retention.ms=604800000 ")
    kafka("configs", "--alter", "--add-config", "retention.ms=60000", *topic)
    expect_said(kafka("configs", "--describe", *topic), "retention.ms=60000 ")


def partitions():
    create_topic("partitions")
    kafka("topics", "--alter", "--topic", "partitions", "--partitions", "3")
    expect_said(kafka("topics", "--describe", "--topic", "partitions"), "PartitionCount: 3")


def groups():
    create_topic("groups")
    reader = member("groups")
    await_owned(reader, 1)
    said = kafka("consumer-groups", "--describe", "--group", "groups", "--state")
    expect_said(said, r"groups .*Stable +1")
    group = ["--entity-type", "groups", "--entity-name", "groups"]
    kafka("configs", "--alter", "--add-config", "consumer.session.timeout.ms=50000", *group)
    expect_said(kafka("configs", "--describe", *group), "consumer.session.timeout.ms=50000 ")
    reader.terminate()
    reader.wait(WAIT_S)
    expect("listed", "groups" in kafka("consumer-groups", "--list").split(), True)
    kafka("consumer-groups", "--delete", "--group", "groups")
    expect("when deleted", "groups" in kafka("consumer-groups", "--list").split(), False)


def delete():
    create_topic("delete")
    kafka("topics", "--delete", "--topic", "delete")
    expect("listed", "delete" in kafka("topics", "--list").split(), False)


def password():
    expect_said(error_of("topics", "--list", config=config_file("wrong")), "Authentication failed")


def too_large():
    create_topic("too-large")
    config = config_file(PASSWORD, **{"max.request.size": 10_000_000})
    try:
        produce("too-large", [TOO_LARGE.decode()], config=config)
    except RuntimeError as error:
        expect_said(str(error), "RecordTooLargeException")
    else:
        raise AssertionError("a record too large was accepted")


def idempotent():
    create_topic("idempotent")
    config = config_file(PASSWORD, **{"enable.idempotence": "true", "retries": 3})
    said = kafka("verifiable-producer", "--topic", "idempotent", "--max-messages", "100",
                 config=config)
    summary = json.loads([line for line in said.splitlines() if "tool_data" in line][-1])
    expect("sent and acknowledged", (summary["sent"], summary["acked"]), (100, 100))
    expect("offset", end_offset("idempotent", "-1"), "idempotent:0:100")
    load = ["--num-records", "900", "--record-size", "100", "--throughput", "-1"]
    said = kafka("producer-perf-test", "--topic", "idempotent", *load)
    expect_said(said, "900 records sent")
    said = kafka("consumer-perf-test", "--topic", "idempotent", "--num-records", "1000")
    expect_said(said, ", 1000, ")
    expect("offset", end_offset("idempotent", "-1"), "idempotent:0:1000")


run({
    "create": create,
    **{codec: partial(compression, codec) for codec in ("none", "gzip", "snappy", "lz4", "zstd")},
    "offsets": offsets,
    "group": group,
    "rebalance": partial(take_over, "rebalance", subprocess.Popen.terminate),
    "crash": partial(take_over, "crash", subprocess.Popen.kill),
    "resume": resume,
    "topics": topics,
    "configs": configs,
    "partitions": partitions,
    "groups": groups,
    "delete": delete,
    "password": password,
    "too-large": too_large,
    "idempotent": idempotent,
})
