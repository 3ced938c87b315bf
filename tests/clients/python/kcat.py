"""The scenarios with kcat. It cannot manage topics, so confluent-kafka-python makes them for it."""

import json
import re
import subprocess
import sys
import time
from functools import partial

from confluent_kafka.admin import AdminClient, NewTopic

from matrix import (BOOTSTRAP, PASSWORD, SAMPLES, SECURITY, SESSION_TIMEOUT_MS, TOO_LARGE, TRUST,
                    USERNAME, WAIT_S, absent, expect, expect_samples, run)

LOGIN = {
    "bootstrap.servers": BOOTSTRAP,
    "security.protocol": SECURITY,
    **TRUST,
    "sasl.mechanism": "PLAIN",
    "sasl.username": USERNAME,
    "sasl.password": PASSWORD,
}
admin = AdminClient(LOGIN)
KEY_END, RECORD_END = "<key>", "<record>"


def command(*arguments, **config):
    settings = [f"-X{name}={value}" for name, value in {**LOGIN, **config}.items()]
    return ["kcat", "-b", BOOTSTRAP, *settings, *arguments]


def kcat(*arguments, stdin=b"", **config):
    done = subprocess.run(
        command(*arguments, **config), input=stdin, capture_output=True, timeout=WAIT_S)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode().strip())
    return done.stdout


def create_topic(topic, partitions=1):
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT_S)


def produce_samples(topic, **config):
    for key, value, headers in SAMPLES:
        null = ["-Z"] if key is None or value is None else []
        named = [part for name, text in headers for part in ("-H", f"{name}={text.decode()}")]
        record = (key or b"") + KEY_END.encode() + (value or b"") + RECORD_END.encode()
        kcat("-P", "-t", topic, "-p", "0", "-K", KEY_END, "-D", RECORD_END, *null, *named,
             stdin=record, **config)


def fill(topic, partition, count):
    lines = "".join(f"{i}\n" for i in range(count)).encode()
    kcat("-P", "-t", topic, "-p", str(partition), stdin=lines)


def read_samples(topic):
    """kcat prints a line of offset, lengths (-1 for null) and headers, then key and value."""
    said = kcat("-C", "-t", topic, "-p", "0", "-o", "beginning", "-e", "-q",
                "-f", "%o %K %S %h\n%k%s\n")
    records = []
    while said:
        head, said = said.split(b"\n", 1)
        offset, key_len, value_len, headers = head.split(b" ", 3)
        key, said = take(said, int(key_len))
        value, said = take(said, int(value_len))
        pairs = [pair.split(b"=", 1) for pair in headers.split(b",") if pair]
        records.append((int(offset), key, value, [(k.decode(), v) for k, v in pairs]))
        said = said[1:]
    return records


def take(text, length):
    return (None, text) if length < 0 else (text[:length], text[length:])


def compression(codec):
    create_topic(codec)
    produce_samples(codec, **{"compression.codec": codec})
    expect_samples(read_samples(codec))


def idempotent():
    create_topic("idempotent")
    produce_samples("idempotent", **{"enable.idempotence": "true"})
    expect_samples(read_samples("idempotent"))


def offsets_from(start):
    said = kcat("-C", "-t", "offsets", "-p", "0", "-o", start, "-e", "-q", "-f", "%o\n")
    return [int(line) for line in said.split()]


def offsets():
    create_topic("offsets")
    fill("offsets", 0, 5)
    middle = int(time.time() * 1000) + 5
    time.sleep(0.01)
    fill("offsets", 0, 5)
    expect("earliest", offsets_from("beginning"), [*range(10)])
    expect("at a time", offsets_from(f"s@{middle}"), [*range(5, 10)])
    expect("query", kcat("-Q", "-t", f"offsets:0:{middle}"), b"offsets [0] offset 5\n")
    arguments = ["-C", "-t", "offsets", "-p", "0", "-o", "end", "-c", "1", "-f", "%o"]
    latest = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    await_line(latest, rb"Reached end of topic offsets \[0\] at offset 10")
    fill("offsets", 0, 1)
    expect("latest", latest.communicate(timeout=WAIT_S)[0], b"10")


def await_line(process, pattern):
    """Reads what kcat says on standard error, up to the line that matches."""
    for line in process.stderr:
        sys.stderr.write(line.decode())
        if re.search(pattern, line):
            return
    raise AssertionError(f"kcat ended before it said {pattern}")


def member(group, *arguments):
    config = {"session.timeout.ms": SESSION_TIMEOUT_MS, "heartbeat.interval.ms": 500,
              "auto.offset.reset": "earliest"}
    line = command("-G", group, *arguments, group, **config)
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def await_owned(process, topic, count):
    owned = b", ".join([rb"%s \[\d\]" % topic.encode()] * count)
    await_line(process, rb"assigned: " + owned + rb"\s*$")


def group():
    create_topic("group", 3)
    for partition in range(3):
        fill("group", partition, 5)
    said = member("group", "-c", "15", "-f", "%p %o %s\n").communicate(timeout=WAIT_S)[0]
    got = sorted(tuple(int(field) for field in line.split()) for line in said.splitlines())
    expect("records", got, [(p, i, i) for p in range(3) for i in range(5)])


def take_over(name, stop):
    create_topic(name, 4)
    stays = member(name)
    await_owned(stays, name, 4)
    goes = member(name)
    await_owned(goes, name, 2)
    await_owned(stays, name, 2)
    stop(goes)
    await_owned(stays, name, 4)
    stays.terminate()
    stays.communicate(timeout=WAIT_S)


def resume():
    create_topic("resume")
    fill("resume", 0, 10)
    first = member("resume", "-c", "5", "-f", "%o ").communicate(timeout=WAIT_S)[0]
    expect("first", first, b"0 1 2 3 4 ")
    second = member("resume", "-c", "5", "-f", "%o ").communicate(timeout=WAIT_S)[0]
    expect("resumed", second, b"5 6 7 8 9 ")


def topics():
    create_topic("topics", 3)
    listed = {topic["topic"]: topic for topic in json.loads(kcat("-L", "-J"))["topics"]}
    got = [(p["partition"], len(p["replicas"])) for p in listed["topics"]["partitions"]]
    expect("partitions", got, [(0, 1), (1, 1), (2, 1)])


def error_of(*arguments, **options):
    try:
        kcat(*arguments, **options)
    except RuntimeError as error:
        return str(error)
    return ""


def password():
    error = error_of("-L", "-m", "3", **{"sasl.password": "wrong"})
    expect("authentication error", "Authentication failed" in error, True)


def too_large():
    create_topic("too-large")
    error = error_of("-P", "-t", "too-large", stdin=TOO_LARGE, **{"message.max.bytes": "10000000"})
    expect("error", "Broker: Message size too large" in error, True)


no_admin = absent("kcat has no admin calls but the list of topics")
run({
    "create": no_admin,
    **{codec: partial(compression, codec) for codec in ("none", "gzip", "snappy", "lz4", "zstd")},
    "offsets": offsets,
    "group": group,
    "rebalance": partial(take_over, "rebalance", subprocess.Popen.terminate),
    "crash": partial(take_over, "crash", subprocess.Popen.kill),
    "resume": resume,
    "topics": topics,
    "configs": no_admin,
    "partitions": no_admin,
    "groups": no_admin,
    "delete": no_admin,
    "password": password,
    "too-large": too_large,
    "idempotent": idempotent,
})
