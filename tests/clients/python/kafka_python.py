"""The scenarios with kafka-python."""

import logging
import time
from functools import partial

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.errors import (KafkaTimeoutError, MessageSizeTooLargeError,
                          SaslAuthenticationFailedError, TopicAlreadyExistsError)
from kafka.structs import OffsetAndMetadata

from matrix import (BOOTSTRAP, CA, PASSWORD, SAMPLES, SECURITY, SESSION_TIMEOUT_MS, TOO_LARGE,
                    USERNAME, WAIT_S, expect, expect_samples, run, start_member)

LOGIN = {
    "bootstrap_servers": BOOTSTRAP,
    "security_protocol": SECURITY,
    "ssl_cafile": CA,
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": USERNAME,
    "sasl_plain_password": PASSWORD,
}
READER = {
    **LOGIN,
    "auto_offset_reset": "earliest",
    "enable_auto_commit": False,
    "session_timeout_ms": SESSION_TIMEOUT_MS,
    "heartbeat_interval_ms": 500,
}
admin = KafkaAdminClient(**LOGIN)


def create_topic(topic, partitions=1):
    admin.create_topics([NewTopic(topic, partitions, 1)])


def produce(topic, records, **config):
    """Sends each record in a batch of its own; returns the offsets."""
    producer = KafkaProducer(**LOGIN, **config)
    try:
        return [producer.send(topic, value, key, headers, partition).get(WAIT_S).offset
                for partition, (key, value, headers) in records]
    finally:
        producer.close()


def fill(topic, partitions, count):
    produce(topic, [(p, (None, b"%d" % i, [])) for p in range(partitions) for i in range(count)])


def poll(reader, count):
    records, deadline = [], time.monotonic() + WAIT_S
    while len(records) < count and time.monotonic() < deadline:
        for batch in reader.poll(200, max_records=count - len(records)).values():
            records += batch
    return records


def offsets_of(reader, count):
    return [record.offset for record in poll(reader, count)]


def reader_of(topic):
    reader = KafkaConsumer(**READER)
    reader.assign([TopicPartition(topic, 0)])
    return reader


def expect_samples_in(topic):
    reader = reader_of(topic)
    expect_samples([(r.offset, r.key, r.value, r.headers) for r in poll(reader, 7)])
    reader.close()


def member(name):
    return KafkaConsumer(name, group_id=name, **READER)


def until_owned(members, wanted):
    """Polls for long, as an answer to a join that comes after a poll has ended is lost."""
    deadline, owned = time.monotonic() + WAIT_S, None
    while owned != wanted and time.monotonic() < deadline:
        for reader in members:
            reader.poll(1000)
        owned = [len(reader.assignment()) for reader in members]
    expect("partitions owned", owned, wanted)


def error_of(call):
    try:
        call()
    except Exception as error:
        return type(error)
    return None


def create():
    create_topic("create", 3)
    expect("the same again", error_of(lambda: create_topic("create", 3)), TopicAlreadyExistsError)


def samples(topic, **config):
    create_topic(topic)
    expect("offsets", produce(topic, [(0, sample) for sample in SAMPLES], **config), [*range(7)])
    expect_samples_in(topic)


def offsets():
    create_topic("offsets")
    fill("offsets", 1, 5)
    middle = int(time.time() * 1000) + 5
    time.sleep(0.01)
    fill("offsets", 1, 5)
    reader, partition = reader_of("offsets"), TopicPartition("offsets", 0)
    expect("earliest", offsets_of(reader, 10), [*range(10)])
    found = reader.offsets_for_times({partition: middle})[partition].offset
    expect("offset at a time", found, 5)
    expect("end", reader.end_offsets([partition]), {partition: 10})
    reader.seek(partition, found)
    expect("at a time", offsets_of(reader, 5), [*range(5, 10)])
    reader.seek_to_end(partition)
    expect("position", reader.position(partition), 10)
    fill("offsets", 1, 1)
    expect("latest", offsets_of(reader, 1), [10])
    reader.close()


def group():
    create_topic("group", 3)
    fill("group", 3, 5)
    reader = member("group")
    got = sorted((r.partition, r.offset, r.value) for r in poll(reader, 15))
    expect("records", got, [(p, i, b"%d" % i) for p in range(3) for i in range(5)])
    reader.close()


def rebalance():
    create_topic("rebalance", 4)
    stays, leaves = member("rebalance"), member("rebalance")
    until_owned([stays, leaves], [2, 2])
    leaves.close()
    until_owned([stays], [4])
    stays.close()


def crash():
    create_topic("crash", 4)
    stays, crashes = member("crash"), start_member()
    until_owned([stays], [2])
    crashes.kill()
    until_owned([stays], [4])
    stays.close()


def crashing_member():
    reader = member("crash")
    while True:
        reader.poll(1000)


def resume():
    create_topic("resume")
    fill("resume", 1, 10)
    partition = TopicPartition("resume", 0)
    first = member("resume")
    expect("first", offsets_of(first, 5), [*range(5)])
    first.commit({partition: OffsetAndMetadata(5, "", -1)})
    first.close()
    second = member("resume")
    expect("resumed", offsets_of(second, 5), [*range(5, 10)])
    expect("committed", second.committed(partition), 5)
    second.close()


def topics():
    create_topic("topics", 3)
    expect("listed", "topics" in admin.list_topics(), True)
    described = admin.describe_topics(["topics"])[0]["partitions"]
    expect("partitions", sorted(p["partition_index"] for p in described), [0, 1, 2])


def configs():
    create_topic("configs")
    expect("before", retention(), "604800000")
    changed = ConfigResource(ConfigResourceType.TOPIC, "configs", {"retention.ms": "60000"})
    admin.alter_configs([changed])
    expect("after", retention(), "60000")


def retention():
    asked = ConfigResource(ConfigResourceType.TOPIC, "configs", {"retention.ms": None})
    said = admin.describe_configs([asked], config_filter="all")
    return said["topic"]["configs"]["retention.ms"]["value"]


def partitions():
    create_topic("partitions")
    admin.create_partitions({"partitions": NewPartitions(3)})
    expect("partitions", len(admin.describe_topics(["partitions"])[0]["partitions"]), 3)


def groups():
    create_topic("groups")
    fill("groups", 1, 1)
    reader = member("groups")
    poll(reader, 1)
    reader.commit()
    described = admin.describe_groups(["groups"])["groups"]
    expect("state", described["group_state"], "Stable")
    expect("members", len(described["members"]), 1)
    reader.close()
    expect("listed", "groups" in [g["group_id"] for g in admin.list_groups()], True)
    admin.delete_groups(["groups"])
    expect("when deleted", "groups" in [g["group_id"] for g in admin.list_groups()], False)


def delete():
    create_topic("delete")
    admin.delete_topics(["delete"])
    expect("listed", "delete" in admin.list_topics(), False)


def password():
    """It tries until it runs out of time; only its log tells the reason."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("kafka.net.manager").addHandler(handler)
    wrong = {**LOGIN, "sasl_plain_password": "wrong", "bootstrap_timeout_ms": 2000}
    expect("error", error_of(lambda: KafkaAdminClient(**wrong)), KafkaTimeoutError)
    reason = SaslAuthenticationFailedError.__name__
    expect(f"{reason} in the log", any(reason in text for text in said), True)


def too_large():
    create_topic("too-large")
    big = [(0, (None, TOO_LARGE, []))]
    error = error_of(lambda: produce("too-large", big, max_request_size=10_000_000))
    expect("error", error, MessageSizeTooLargeError)


run({
    "create": create,
    "none": partial(samples, "none"),
    **{codec: partial(samples, codec, compression_type=codec)
       for codec in ("gzip", "snappy", "lz4", "zstd")},
    "offsets": offsets,
    "group": group,
    "rebalance": rebalance,
    "crash": crash,
    "resume": resume,
    "topics": topics,
    "configs": configs,
    "partitions": partitions,
    "groups": groups,
    "delete": delete,
    "password": password,
    "too-large": too_large,
    "idempotent": partial(samples, "idempotent", enable_idempotence=True),
}, crashing_member)
