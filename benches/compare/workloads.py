"""The workloads: for each, the load's command line and what to read from what it prints."""

import re

import beside
import proc
from systems import CERTIFICATE, PARTS, TIDELOG, TLS, java

EVERYONE = {"tidelog", "kafka", "kafka-flush-1", "tansu", "black-hole"}
BROKERS = EVERYONE - {"black-hole"}
PAIR = {"tidelog", "kafka"}
# What the Java tools send: about a second's worth.
PERF_RECORDS = 200_000
END_TO_END_RECORDS = 2_000
GROUP_RECORDS = 30_000
# Batches of 16 records: 48 MiB/s in, and out to ten consumers 480 MiB/s.
TAIL_RATE, TAIL_BATCH = 48_000, 16


class Workload:
    """A load, put on one broker after the other."""

    def __init__(
        self,
        name,
        systems,
        command,
        read=proc.last_json,
        topic=None,
        before=None,
        beside=None,
        login=False,
        tls=False,
    ):
        self.name, self.systems = name, systems
        self._command, self.read, self.before, self.beside = command, read, before, beside
        # Whether each connection of a load of ours logs in with SASL/PLAIN.
        self.login = login
        # Whether a load of Kafka's speaks TLS.
        self.tls = tls
        # A workload that reads what another wrote names it.
        self.topic = re.sub(r"[^a-z0-9]+", "-", topic or name)

    def command(self, system, seconds):
        address = system.tls_address if self.tls else system.address
        command = [str(it) for it in self._command(address, self.topic, seconds)]
        if self.tls:
            command += ["--command-config", str(tls_properties())]
        return [*command, "--username", system.ready()["username"]] if self.login else command

    def environment(self, system):
        return {"TIDELOG_PASSWORD": system.ready()["password"]} if self.login else {}


def tls_properties():
    """What Kafka's clients are told to speak TLS."""
    file = TLS / "client.properties"
    trust = f"ssl.truststore.type=PEM\nssl.truststore.location={CERTIFICATE}\n"
    file.write_text(f"security.protocol=SSL\n{trust}")
    return file


def bench(verb, once=False, lengths=1, **options):
    """A load of ours, for some times the length that was asked for, or as long as once takes."""
    flags = [it for name, value in options.items() for it in (f"--{name.replace('_', '-')}", value)]

    def command(address, topic, seconds):
        base = [TIDELOG, "bench", verb, "--bootstrap-server", address, "--topic", topic]
        length = [] if once else ["--duration", f"{round(seconds * lengths * 1000)}ms"]
        return [*base, *flags, *length, "--output", "json"]

    return command


def produce(name, systems, **options):
    return Workload(f"produce {name}", systems, bench("produce", **options))


def rdkafka_produce(record_size):
    def command(address, topic, seconds):
        base = [PARTS, "rdkafka-produce", address, topic, "--partitions", 1, "--record-size"]
        settings = ["linger.ms=5", "acks=all", "queue.buffering.max.messages=1000000"]
        sets = [it for setting in settings for it in ("--set", setting)]
        return [*base, record_size, "--seconds", seconds, *sets]

    return command


def rdkafka_consume(address, topic, _):
    base = [PARTS, "rdkafka-consume", address, topic, "--partitions", 1, "--records", PERF_RECORDS]
    return [*base, "--set", "group.id=compare", "--set", "queued.min.messages=1000000"]


def rdkafka_group(members):
    def command(address, topic, _):
        base = [PARTS, "rdkafka-consume", address, topic, "--partitions", 12]
        group = ["--members", members, "--records", GROUP_RECORDS]
        settings = [f"group.id=compare-{members}", "auto.offset.reset=earliest"]
        return [*base, *group, *[it for setting in settings for it in ("--set", setting)]]

    return command


def perf_produce(address, topic, _):
    main = "org.apache.kafka.tools.ProducerPerformance"
    size = ["--num-records", PERF_RECORDS, "--record-size", 1024, "--throughput", -1]
    return java(main, "--bootstrap-server", address, "--topic", topic, *size, heap="1g")


def read_perf_produce(text):
    line = text.strip().splitlines()[-1]
    records, rate = re.match(r"(\d+) records sent, ([\d.]+) records/sec", line).groups()
    quantiles = {f"p{name}": float(ms) for ms, name in re.findall(r"(\d+) ms ([\d.]+)th", line)}
    rate = float(rate)
    return {
        "records": int(records),
        "bytes": int(records) * 1024,
        "seconds": int(records) / rate,
        "records_per_second": rate,
        "bytes_per_second": rate * 1024,
        "acknowledged_ms": quantiles,
    }


def perf_consume(address, topic, _):
    main = "org.apache.kafka.tools.ConsumerPerformance"
    count = ["--num-records", PERF_RECORDS]
    return java(main, "--bootstrap-server", address, "--topic", topic, *count, heap="1g")


def read_perf_consume(text):
    lines = [it for it in text.strip().splitlines() if "," in it]
    names, values = ([it.strip() for it in line.split(",")] for line in lines[-2:])
    found = dict(zip(names, values))
    records, rate = int(found["data.consumed.in.nMsg"]), float(found["fetch.nMsg.sec"])
    return {
        "records": records,
        "bytes": records * 1024,
        "seconds": records / rate,
        "records_per_second": rate,
        "bytes_per_second": rate * 1024,
        "rebalance_ms": float(found["rebalance.time.ms"]),
    }


def end_to_end(address, topic, _):
    main = "org.apache.kafka.tools.EndToEndLatency"
    return java(main, address, topic, END_TO_END_RECORDS, "all", 1024)


def read_end_to_end(text):
    average = float(re.search(r"Avg latency: ([\d.]+)", text).group(1))
    p50, p99, p999 = re.search(r"50th = (\d+), 99th = (\d+), 99.9th = (\d+)", text).groups()
    found = {"average": average, "p50": int(p50), "p99": int(p99), "p99.9": int(p999)}
    return {"records": END_TO_END_RECORDS, "end_to_end_ms": found}


def fetch(name, systems, topic, **options):
    return Workload(f"fetch {name}", systems, bench("fetch", **options), topic=f"produce {topic}")


def produce_beside(what, kind):
    name, options = "produce 16 connections", {"partitions": 12, "connections": 16}
    load = bench("produce", **options)
    return Workload(f"{name}, {what} beside", {"tidelog"}, load, topic=name, beside=kind)


def tail(consumers):
    plural = "s" if consumers > 1 else ""
    options = {"rate": TAIL_RATE, "batch_records": TAIL_BATCH, "warm_up": "200ms"}
    load = bench("latency", consumers=consumers, **options)
    return Workload(f"{consumers} tail consumer{plural}", PAIR, load)


# One connection with this many batches under way, so that the time of a sync is hidden.
DEEP = {"in_flight": 64}
MOST = {"tidelog", "kafka", "black-hole"}

ALL = [
    produce("1 KiB", EVERYONE, **DEEP),
    produce("100 B", EVERYONE, record_size=100, **DEEP),
    produce("1 KiB, 5 in flight", MOST),
    fetch("hot", BROKERS, "1 KiB"),
    fetch("hot, 100 B", PAIR, "100 B"),
    Workload(
        # Longer than the others: its quantiles need some thousand records.
        "latency 1,000/s",
        BROKERS,
        bench("latency", lengths=3, rate=1000),
        topic="latency",
    ),
    Workload(
        # What there is between a load and a broker that does nothing.
        "latency 1,000/s, no consumer",
        MOST,
        bench("latency", lengths=3, rate=1000, consumers=0),
        topic="latency",
    ),
    tail(1),
    tail(10),
    Workload("librdkafka produce 1 KiB", EVERYONE, rdkafka_produce(1024)),
    Workload("librdkafka produce 100 B", EVERYONE, rdkafka_produce(100)),
    Workload("kafka-producer-perf-test", MOST, perf_produce, read_perf_produce),
    Workload(
        "kafka-consumer-perf-test",
        PAIR,
        perf_consume,
        read_perf_consume,
        topic="kafka-producer-perf-test",
    ),
    Workload(
        "kafka-producer-perf-test, TLS", PAIR, perf_produce, read_perf_produce, tls=True
    ),
    Workload(
        "kafka-consumer-perf-test, TLS",
        PAIR,
        perf_consume,
        read_perf_consume,
        topic="kafka-producer-perf-test, TLS",
        tls=True,
    ),
    Workload("librdkafka consume", PAIR, rdkafka_consume, topic="kafka-producer-perf-test"),
    Workload("kafka-e2e-latency", PAIR, end_to_end, read_end_to_end),
    produce("acks=1", PAIR, acks="1", **DEEP),
    produce("acks=0", PAIR, acks="0", **DEEP),
    produce("12 partitions", PAIR, partitions=12, **DEEP),
    produce("1,000 partitions", PAIR, partitions=1000, **DEEP),
    produce("16 connections", MOST, partitions=12, connections=16),
    produce("500 connections", MOST, partitions=12, connections=500),
    Workload(
        "produce 500 connections, SASL/PLAIN",
        {"tidelog"},
        bench("produce", partitions=12, connections=500),
        login=True,
    ),
    produce_beside("ingest", beside.Ingest),
    produce_beside("ingest, REST and webhook", beside.Mixed),
    Workload("librdkafka group of 1", PAIR, rdkafka_group(1), topic="produce 16 connections"),
    Workload("librdkafka group of 4", PAIR, rdkafka_group(4), topic="produce 16 connections"),
    fetch("16 connections", PAIR, "12 partitions", partitions=12, connections=16),
    produce("gzip", PAIR, compression="gzip", **DEEP),
    produce("snappy", PAIR, compression="snappy", **DEEP),
    produce("lz4", PAIR, compression="lz4", **DEEP),
    produce("zstd", PAIR, compression="zstd", **DEEP),
    Workload(
        "fetch cold",
        PAIR,
        bench("fetch", once=True),
        topic="produce 1 KiB",
        before=proc.forget_page_cache,
    ),
    # What the loads before have left is in the broker now. What the cold read had the kernel drop is
    # not to be paid for by what comes after it.
    Workload(
        "produce 1 KiB, after the rest",
        PAIR,
        bench("produce", **DEEP),
        before=lambda _: proc.fill_memory(),
    ),
    Workload(
        "latency 1,000/s, after the rest",
        PAIR,
        bench("latency", lengths=3, rate=1000),
        topic="latency",
    ),
]
