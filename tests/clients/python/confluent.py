"""The scenarios with confluent-kafka-python, which is librdkafka."""

import time
from functools import partial

from confluent_kafka import (OFFSET_BEGINNING, OFFSET_END, Consumer, ConsumerGroupState,
                             ConsumerGroupTopicPartitions, ConsumerGroupType, KafkaError,
                             KafkaException, Producer, TopicCollection, TopicPartition)
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource,
                                   NewPartitions, NewTopic)

from matrix import (BOOTSTRAP, PASSWORD, PROTOCOL, SAMPLES, SECURITY, SESSION_TIMEOUT_MS,
                    TOO_LARGE, TRUST, USERNAME, WAIT_S, expect, expect_samples, run, start_member)

BASE = {
    "bootstrap.servers": BOOTSTRAP,
    "security.protocol": SECURITY,
    **TRUST,
    "sasl.mechanism": "PLAIN",
    "sasl.username": USERNAME,
    "sasl.password": PASSWORD,
}
admin = AdminClient(BASE)


def create_topic(topic, partitions=1):
    for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        future.result(WAIT_S)


def produce(topic, records, **config):
    """Sends each record in a batch of its own; returns the offsets."""
    producer, offsets = Producer({**BASE, **config}), []

    def delivered(error, message):
        if error:
            raise KafkaException(error)
        offsets.append(message.offset())

    for partition, (key, value, headers) in records:
        producer.produce(topic, value, key, partition, delivered, headers=headers)
        producer.flush(WAIT_S)
    return offsets


def fill(topic, partitions, count):
    """Writes `count` numbered records to each partition."""
    produce(topic, [(p, (None, b"%d" % i, [])) for p in range(partitions) for i in range(count)])


def consumer(group="unused", **config):
    protocol = config.pop("group.protocol", PROTOCOL)
    # In the consumer protocol the broker has the timeouts, and clients may not.
    timeouts = {"session.timeout.ms": SESSION_TIMEOUT_MS, "heartbeat.interval.ms": 500}
    return Consumer({**BASE, "group.id": group, "auto.offset.reset": "earliest",
                     "group.protocol": protocol, "enable.auto.commit": False,
                     **(timeouts if protocol == "classic" else {}), **config})


def poll(reader, count):
    messages, deadline = [], time.monotonic() + WAIT_S
    while len(messages) < count and time.monotonic() < deadline:
        message = reader.poll(0.2)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        messages.append(message)
    return messages


def read(topic, count, offset=OFFSET_BEGINNING):
    reader = consumer()
    reader.assign([TopicPartition(topic, 0, offset)])
    messages = poll(reader, count)
    reader.close()
    return messages


def until_owned(members, wanted):
    """Polls the members until they own as many partitions as wanted, sorted."""
    deadline, owned = time.monotonic() + WAIT_S, None
    while owned != wanted and time.monotonic() < deadline:
        for member in members:
            member.poll(0.1)
        owned = sorted(len(member.assignment()) for member in members)
    expect("partitions owned", owned, wanted)


def error_code(call):
    try:
        call()
    except KafkaException as error:
        return error.args[0].code()
    return None


def create():
    create_topic("create", 3)
    expect("partitions", len(admin.list_topics("create").topics["create"].partitions), 3)
    again = error_code(lambda: create_topic("create", 3))
    expect("the same again", again, KafkaError.TOPIC_ALREADY_EXISTS)


def compression(codec):
    create_topic(codec)
    samples = [(0, sample) for sample in SAMPLES]
    expect("offsets", produce(codec, samples, **{"compression.type": codec}), [*range(7)])
    expect_samples([(m.offset(), m.key(), m.value(), m.headers()) for m in read(codec, 7)])


def offsets():
    create_topic("offsets")
    fill("offsets", 1, 5)
    middle = int(time.time() * 1000) + 5
    time.sleep(0.01)
    fill("offsets", 1, 5)
    expect("earliest", [m.offset() for m in read("offsets", 10)], [*range(10)])
    reader = consumer()
    found = reader.offsets_for_times([TopicPartition("offsets", 0, middle)], WAIT_S)[0].offset
    expect("offset at a time", found, 5)
    expect("watermarks", reader.get_watermark_offsets(TopicPartition("offsets", 0)), (0, 10))
    reader.assign([TopicPartition("offsets", 0, OFFSET_END)])
    expect("read before a write", reader.poll(1), None)
    fill("offsets", 1, 1)
    expect("latest", [m.offset() for m in poll(reader, 1)], [10])
    reader.close()


def group():
    create_topic("group", 3)
    fill("group", 3, 5)
    reader = consumer("group")
    reader.subscribe(["group"])
    got = sorted((m.partition(), m.offset(), m.value()) for m in poll(reader, 15))
    expect("records", got, [(p, i, b"%d" % i) for p in range(3) for i in range(5)])
    reader.close()


def member(name, topic=None, **config):
    reader = consumer(name, **config)
    reader.subscribe([topic or name])
    return reader


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
        reader.poll(1)


def static():
    create_topic("static", 4)
    stays = member("static", **{"group.instance.id": "stays"})
    restarts = member("static", **{"group.instance.id": "restarts"})
    until_owned([stays, restarts], [2, 2])
    had = restarts.assignment()
    restarts.close()
    restarts = member("static", **{"group.instance.id": "restarts"})
    until_owned([stays, restarts], [2, 2])
    expect("partitions after the restart", restarts.assignment(), had)
    stays.close()
    restarts.close()


def regex():
    create_topic("regex-1", 2)
    reader = member("regex", "^regex-[0-9]$")
    until_owned([reader], [2])
    create_topic("regex-2", 3)
    create_topic("regex-none")
    until_owned([reader], [5])
    reader.close()


def upgrade():
    """A live group goes from one protocol to the other and back, and reads each record once."""
    create_topic("upgrade", 4)
    fill("upgrade", 4, 5)
    cooperative = {"partition.assignment.strategy": "cooperative-sticky"}
    old = member("upgrade", **{"group.protocol": "classic", **cooperative})
    expect("read before", len(poll(old, 20)), 20)
    old.commit(asynchronous=False)
    new = member("upgrade")
    until_owned([old, new], [2, 2])
    fill("upgrade", 4, 1)
    expect("read by both", len(poll_all([old, new], 4)), 4)
    expect("type", group_type("upgrade"), ConsumerGroupType.CONSUMER)
    for reader in (old, new):
        reader.commit(asynchronous=False)
    new.close()
    until_owned([old], [4])
    expect("type when it has left", group_type("upgrade"), ConsumerGroupType.CLASSIC)
    expect("read again", old.poll(1), None)
    old.close()


def poll_all(readers, count):
    messages, deadline = [], time.monotonic() + WAIT_S
    while len(messages) < count and time.monotonic() < deadline:
        found = [reader.poll(0.1) for reader in readers]
        messages += [message for message in found if message is not None]
    return messages


def group_type(name):
    listed = admin.list_consumer_groups().result(WAIT_S).valid
    return next(group.type for group in listed if group.group_id == name)


def resume():
    create_topic("resume")
    fill("resume", 1, 10)
    first = member("resume")
    last = poll(first, 5)[4]
    first.commit(message=last, asynchronous=False)
    first.close()
    second = member("resume")
    expect("resumed at", [m.offset() for m in poll(second, 5)], [5, 6, 7, 8, 9])
    expect("committed", second.committed([TopicPartition("resume", 0)])[0].offset, 5)
    second.close()


def topics():
    create_topic("topics", 3)
    expect("listed", "topics" in admin.list_topics(timeout=WAIT_S).topics, True)
    described = admin.describe_topics(TopicCollection(["topics"]))["topics"].result(WAIT_S)
    got = [(p.id, p.leader.id, len(p.replicas), len(p.isr)) for p in described.partitions]
    leader = got[0][1]
    expect("partitions", got, [(i, leader, 1, 1) for i in range(3)])


def configs():
    create_topic("configs")
    resource = ConfigResource(ConfigResource.Type.TOPIC, "configs")
    expect("before", config_value(resource, "retention.ms"), "604800000")
    change = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    changed = ConfigResource(ConfigResource.Type.TOPIC, "configs", incremental_configs=[change])
    admin.incremental_alter_configs([changed])[changed].result(WAIT_S)
    expect("after", config_value(resource, "retention.ms"), "60000")


def config_value(resource, name):
    return admin.describe_configs([resource])[resource].result(WAIT_S)[name].value


def partitions():
    create_topic("partitions")
    admin.create_partitions([NewPartitions("partitions", 3)])["partitions"].result(WAIT_S)
    expect("partitions", len(admin.list_topics("partitions").topics["partitions"].partitions), 3)


def groups():
    create_topic("groups")
    fill("groups", 1, 1)
    reader = member("groups")
    poll(reader, 1)
    reader.commit(asynchronous=False)
    described = admin.describe_consumer_groups(["groups"])["groups"].result(WAIT_S)
    expect("state", described.state, ConsumerGroupState.STABLE)
    expect("members", [len(m.assignment.topic_partitions) for m in described.members], [1])
    reader.close()
    listed = admin.list_consumer_groups().result(WAIT_S).valid
    expect("listed", "groups" in [g.group_id for g in listed], True)
    asked = ConsumerGroupTopicPartitions("groups")
    found = admin.list_consumer_group_offsets([asked])["groups"].result(WAIT_S)
    expect("offsets", [p.offset for p in found.topic_partitions], [1])
    admin.delete_consumer_groups(["groups"])["groups"].result(WAIT_S)
    listed = admin.list_consumer_groups().result(WAIT_S).valid
    expect("listed when deleted", "groups" in [g.group_id for g in listed], False)


def delete():
    create_topic("delete")
    admin.delete_topics(["delete"])["delete"].result(WAIT_S)
    expect("listed", "delete" in admin.list_topics(timeout=WAIT_S).topics, False)


def password():
    errors = []
    wrong = AdminClient({**BASE, "sasl.password": "wrong", "error_cb": errors.append,
                         "reconnect.backoff.ms": 1000})
    wrong.poll(WAIT_S)
    codes = [error.code() for error in errors]
    expect("authentication error", KafkaError._AUTHENTICATION in codes, True)


def too_large():
    create_topic("too-large")
    record = (0, (None, TOO_LARGE, []))
    code = error_code(lambda: produce("too-large", [record], **{"message.max.bytes": 10_000_000}))
    expect("error", code, KafkaError.MSG_SIZE_TOO_LARGE)


def idempotent():
    create_topic("idempotent")
    samples = [(0, sample) for sample in SAMPLES]
    got = produce("idempotent", samples, **{"enable.idempotence": True})
    expect("offsets", got, [*range(7)])
    expect_samples([(m.offset(), m.key(), m.value(), m.headers()) for m in read("idempotent", 7)])


run({
    "create": create,
    **{codec: partial(compression, codec) for codec in ("none", "gzip", "snappy", "lz4", "zstd")},
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
    "idempotent": idempotent,
    "static": static,
    "regex": regex,
    "upgrade": upgrade,
}, crashing_member)
