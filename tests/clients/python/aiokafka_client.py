"""The scenarios with aiokafka."""

import asyncio
import logging
import time
from functools import partial

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (KafkaConnectionError, MessageSizeTooLargeError,
                             SaslAuthenticationFailed)
from aiokafka.helpers import create_ssl_context

from matrix import (BOOTSTRAP, CA, PASSWORD, SAMPLES, SECURITY, SESSION_TIMEOUT_MS, TOO_LARGE,
                    USERNAME, WAIT_S, expect, expect_samples, run, start_member)

LOGIN = {
    "bootstrap_servers": BOOTSTRAP,
    "security_protocol": SECURITY,
    "ssl_context": create_ssl_context(cafile=CA) if CA else None,
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": USERNAME,
    "sasl_plain_password": PASSWORD,
}
TOPIC_EXISTS = 36


def with_admin(scenario):
    """A scenario that runs in a loop of its own, with an admin client."""
    async def connected(*args, **options):
        admin = AIOKafkaAdminClient(**LOGIN)
        await admin.start()
        try:
            await scenario(admin, *args, **options)
        finally:
            await admin.close()
    return lambda *args, **options: asyncio.run(connected(*args, **options))


async def create_topic(admin, topic, partitions=1):
    """The error code, zero for none."""
    answer = await admin.create_topics([NewTopic(topic, partitions, 1)])
    return answer.topic_errors[0][1]


async def produce(topic, records, **config):
    """Sends each record in a batch of its own; returns the offsets."""
    async with AIOKafkaProducer(**LOGIN, **config) as producer:
        return [(await producer.send_and_wait(topic, value, key, partition, headers=headers)).offset
                for partition, (key, value, headers) in records]


async def fill(topic, partitions, count):
    records = [(p, (None, b"%d" % i, [])) for p in range(partitions) for i in range(count)]
    await produce(topic, records)


def reader(*topics, group=None):
    return AIOKafkaConsumer(
        *topics, group_id=group, **LOGIN, auto_offset_reset="earliest", enable_auto_commit=False,
        session_timeout_ms=SESSION_TIMEOUT_MS, heartbeat_interval_ms=500)


def member(name):
    return reader(name, group=name)


async def poll(consumer, count):
    async def take():
        return [await consumer.getone() for _ in range(count)]
    return await asyncio.wait_for(take(), WAIT_S)


async def offsets_of(consumer, count):
    return [record.offset for record in await poll(consumer, count)]


async def until_owned(members, wanted):
    deadline, owned = time.monotonic() + WAIT_S, None
    while owned != wanted and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        owned = [len(consumer.assignment()) for consumer in members]
    expect("partitions owned", owned, wanted)


@with_admin
async def create(admin):
    expect("created", await create_topic(admin, "create", 3), 0)
    expect("the same again", await create_topic(admin, "create", 3), TOPIC_EXISTS)


@with_admin
async def samples(admin, topic, **config):
    await create_topic(admin, topic)
    got = await produce(topic, [(0, sample) for sample in SAMPLES], **config)
    expect("offsets", got, [*range(7)])
    async with reader() as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        records = await poll(consumer, 7)
        expect_samples([(r.offset, r.key, r.value, r.headers) for r in records])


@with_admin
async def offsets(admin):
    await create_topic(admin, "offsets")
    await fill("offsets", 1, 5)
    middle = int(time.time() * 1000) + 5
    await asyncio.sleep(0.01)
    await fill("offsets", 1, 5)
    partition = TopicPartition("offsets", 0)
    async with reader() as consumer:
        consumer.assign([partition])
        expect("earliest", await offsets_of(consumer, 10), [*range(10)])
        found = (await consumer.offsets_for_times({partition: middle}))[partition].offset
        expect("offset at a time", found, 5)
        expect("end", await consumer.end_offsets([partition]), {partition: 10})
        consumer.seek(partition, found)
        expect("at a time", await offsets_of(consumer, 5), [*range(5, 10)])
        await consumer.seek_to_end(partition)
        expect("position", await consumer.position(partition), 10)
        await fill("offsets", 1, 1)
        expect("latest", await offsets_of(consumer, 1), [10])


@with_admin
async def group(admin):
    await create_topic(admin, "group", 3)
    await fill("group", 3, 5)
    async with member("group") as consumer:
        got = sorted((r.partition, r.offset, r.value) for r in await poll(consumer, 15))
        expect("records", got, [(p, i, b"%d" % i) for p in range(3) for i in range(5)])


@with_admin
async def rebalance(admin):
    await create_topic(admin, "rebalance", 4)
    async with member("rebalance") as stays:
        async with member("rebalance") as leaves:
            await until_owned([stays, leaves], [2, 2])
        await until_owned([stays], [4])


@with_admin
async def crash(admin):
    await create_topic(admin, "crash", 4)
    async with member("crash") as stays:
        crashes = start_member()
        await until_owned([stays], [2])
        crashes.kill()
        await until_owned([stays], [4])


def crashing_member():
    async def stay():
        async with member("crash") as consumer:
            await consumer.getone()
    asyncio.run(stay())


@with_admin
async def resume(admin):
    await create_topic(admin, "resume")
    await fill("resume", 1, 10)
    partition = TopicPartition("resume", 0)
    async with member("resume") as first:
        expect("first", await offsets_of(first, 5), [*range(5)])
        await first.commit({partition: 5})
    async with member("resume") as second:
        expect("resumed", await offsets_of(second, 5), [*range(5, 10)])
        expect("committed", await second.committed(partition), 5)
    committed = await admin.list_consumer_group_offsets("resume")
    expect("listed", committed[partition].offset, 5)


async def partitions_of(admin, topic):
    return len((await admin.describe_topics([topic]))[0]["partitions"])


@with_admin
async def topics(admin):
    await create_topic(admin, "topics", 3)
    expect("listed", "topics" in await admin.list_topics(), True)
    expect("partitions", await partitions_of(admin, "topics"), 3)


async def retention(admin):
    said = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "configs")])
    entries = said[0].resources[0][4]
    return next(entry[1] for entry in entries if entry[0] == "retention.ms")


@with_admin
async def configs(admin):
    await create_topic(admin, "configs")
    expect("before", await retention(admin), "604800000")
    change = ConfigResource(ConfigResourceType.TOPIC, "configs", {"retention.ms": "60000"})
    await admin.alter_configs([change])
    expect("after", await retention(admin), "60000")


@with_admin
async def partitions(admin):
    await create_topic(admin, "partitions")
    await admin.create_partitions({"partitions": NewPartitions(3)})
    expect("partitions", await partitions_of(admin, "partitions"), 3)


@with_admin
async def groups(admin):
    await create_topic(admin, "groups")
    await fill("groups", 1, 1)
    async with member("groups") as consumer:
        await poll(consumer, 1)
        error, name, state, _, _, members = (
            await admin.describe_consumer_groups(["groups"]))[0].groups[0][:6]
        expect("described", (error, name, state, len(members)), (0, "groups", "Stable", 1))
        await consumer.commit()
    listed = [found[0] for found in await admin.list_consumer_groups()]
    expect("listed", "groups" in listed, True)


@with_admin
async def delete(admin):
    await create_topic(admin, "delete")
    await admin.delete_topics(["delete"])
    expect("listed", "delete" in await admin.list_topics(), False)


def error_of(coroutine):
    try:
        asyncio.run(coroutine)
    except Exception as error:
        return type(error)
    return None


def password():
    """Only its log tells why it cannot connect."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    logging.getLogger("aiokafka").addHandler(handler)

    async def connect():
        wrong = AIOKafkaProducer(**{**LOGIN, "sasl_plain_password": "wrong"})
        try:
            await wrong.start()
        finally:
            await wrong.stop()
    expect("error", error_of(connect()), KafkaConnectionError)
    reason = SaslAuthenticationFailed.__name__
    expect(f"{reason} in the log", any(reason in text for text in said), True)


def too_large():
    big = [(0, (None, TOO_LARGE, []))]
    error = error_of(produce("too-large", big, max_request_size=10_000_000))
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
