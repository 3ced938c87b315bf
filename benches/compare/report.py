"""Tables, and whether the targets are met, from a result file alone."""

import statistics

import plot

KAFKA, TIDELOG, BLACK_HOLE = "kafka", "tidelog", "black-hole"


def line(found):
    """One measurement, short."""
    parts = []
    if "bytes_per_second" in found:
        rate, bytes_rate = found["records_per_second"], found["bytes_per_second"]
        parts.append(f"{rate:,.0f} records/s, {bytes_rate / 1e6:,.0f} MB/s")
    for name in ("acknowledged_ms", "end_to_end_ms"):
        if found.get(name):
            shown = ", ".join(
                f"{it} {found[name][it]:.2f}" for it in ("p50", "p99", "p99.9") if it in found[name]
            )
            parts.append(f"{name.removesuffix('_ms')} {shown} ms")
    for what, rate in found.get("beside", {}).items():
        parts.append(f"beside it {rate:,.0f} {what}/s")
    if "first_record_ms" in found:
        parts.append(f"first record after {found['first_record_ms']:,.0f} ms")
    parts.append(f"broker {found['broker_cpu_s']:.2f} s")
    return "; ".join(parts)


class Results:
    """A result file's figures by system and workload, one a round."""

    def __init__(self, raw):
        self.raw = raw
        self.systems = raw["systems"]
        self.workloads = []
        for system in self.systems.values():
            self.workloads += [it for it in system["workloads"] if it not in self.workloads]

    def runs(self, system, workload, figure):
        runs = self.systems.get(system, {}).get("workloads", {}).get(workload, [])
        found = [figure(it) for it in runs]
        return [it for it in found if it is not None]

    def beside(self, workload):
        """What was done beside it."""
        runs = self.runs(TIDELOG, workload, lambda run: run.get("beside"))
        return list(runs[0]) if runs else []

    def of(self, system, name, scale=1):
        return [it * scale for it in self.systems.get(system, {}).get(name, [])]

    def floor(self, name, figure, scale=1):
        found = [it[name].get(figure) for it in self.raw["floors"]]
        return [it * scale for it in found if it is not None]


def megabytes(run):
    return run["bytes_per_second"] / 1e6 if "bytes_per_second" in run else None


def cpu_per_gb(run):
    return run["broker_cpu_s"] / (run["bytes"] / 1e9) if run.get("bytes") else None


def cpu_per_million(run):
    return run["broker_cpu_s"] / (run["records"] / 1e6) if run.get("records") else None


def written_per_byte(run):
    return run["broker_written_bytes"] / run["bytes"] if run.get("bytes") else None


def latency(name, quantile):
    return lambda run: (run.get(name) or {}).get(quantile)


def spread(values, digits=0):
    """Median, and from where to where."""
    if not values:
        return ""
    low, middle, high = min(values), statistics.median(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def ratio(ours, theirs):
    """The median of the ratios of each round; None where a side is missing."""
    pairs = [a / b for a, b in zip(ours, theirs) if b]
    return statistics.median(pairs) if pairs else None


def times(value):
    return "" if value is None else f"{value:.2f}"


def table(head, rows):
    rows = [row for row in rows if any(row[1:])]
    if not rows:
        return ""
    bars = "|".join(["---", *["---:"] * (len(head) - 1)])
    lines = [" | ".join(head), bars, *[" | ".join(row) for row in rows]]
    return "".join(f"| {it} |\n" if it != bars else f"|{it}|\n" for it in lines) + "\n"


def throughput(results):
    names = list(results.systems)
    rows = []
    for workload in results.workloads:
        by_system = [results.runs(it, workload, megabytes) for it in names]
        if "latency" in workload or "tail" in workload:
            continue
        against = ratio(
            results.runs(TIDELOG, workload, megabytes), results.runs(KAFKA, workload, megabytes)
        )
        rows.append([workload, *[spread(it) for it in by_system], times(against)])
        for what in results.beside(workload):
            rate = lambda run, what=what: run.get("beside", {}).get(what)
            by_system = [spread(results.runs(it, workload, rate)) for it in names]
            rows.append([f"{workload}: {what}/s", *by_system, ""])
    return table(["MB/s", *names, "tidelog / kafka"], rows)


def processor(results, figure):
    names = [it for it in results.systems if it != BLACK_HOLE]
    rows = []
    for workload in results.workloads:
        by_system = [results.runs(it, workload, figure) for it in names]
        against = ratio(
            results.runs(TIDELOG, workload, figure), results.runs(KAFKA, workload, figure)
        )
        rows.append([workload, *[spread(it, 2) for it in by_system], times(against)])
    return rows, names


def latencies(results):
    names = list(results.systems)
    rows = []
    for workload in results.workloads:
        for name in ("acknowledged_ms", "end_to_end_ms"):
            for quantile in ("p50", "p99", "p99.9"):
                if "latency" not in workload:
                    continue
                runs = [results.runs(it, workload, latency(name, quantile)) for it in names]
                label = f"{workload}, {name.removesuffix('_ms').replace('_', ' ')} {quantile}"
                rows.append([label, *[spread(it, 2) for it in runs]])
        first = [results.runs(it, workload, lambda run: run.get("first_record_ms")) for it in names]
        rows.append([f"{workload}, first record", *[spread(it) for it in first]])
    return table(["ms", *names], rows)


# What grows from one workload to the next.
GROWTH = [
    ("partitions, 1 to 12", "produce 1 KiB", "produce 12 partitions"),
    ("partitions, 1 to 1,000", "produce 1 KiB", "produce 1,000 partitions"),
    ("connections, 16 to 500", "produce 16 connections", "produce 500 connections"),
    ("tail consumers, 1 to 10", "1 tail consumer", "10 tail consumers"),
    ("bytes retained, producing", "produce 1 KiB", "produce 1 KiB, after the rest"),
    ("bytes retained, latency", "latency 1,000/s", "latency 1,000/s, after the rest"),
    ("TLS", "kafka-producer-perf-test", "kafka-producer-perf-test, TLS"),
]


def growth(results):
    """By what the broker's processor seconds a GB produced are multiplied as something grows."""
    names = [it for it in results.systems if it != BLACK_HOLE]
    rows = []
    for label, before, after in GROWTH:
        seconds = lambda it, name: results.runs(it, name, cpu_per_gb)
        found = [times(ratio(seconds(it, after), seconds(it, before))) for it in names]
        rows.append([label, *found])
    return table(["times", *names], rows)


def processes(results):
    rows = []
    for name in results.systems:
        written = results.runs(name, "produce 1 KiB", written_per_byte)
        rows.append(
            [
                name,
                spread(results.of(name, "first_start_s", 1e3)),
                spread(results.of(name, "start_s", 1e3)),
                spread(results.of(name, "idle_resident_bytes", 1e-6), 1),
                spread(results.of(name, "idle_own_bytes", 1e-6), 1),
                spread(results.of(name, "idle_cpu_share", 100), 2),
                spread(results.of(name, "peak_resident_bytes", 1e-6)),
                spread(results.of(name, "peak_own_bytes", 1e-6)),
                spread(written, 2),
                spread(results.of(name, "retained_bytes", 1e-9), 1),
                spread(results.of(name, "stop_s", 1e3)),
                spread(results.of(name, "restart_s", 1e3)),
            ]
        )
    start = ["first start to acknowledged record, ms", "the next, program in memory, ms"]
    own = "of it no file's pages"
    head = ["", *start, "idle MB", own, "idle CPU, %", "peak MB", own]
    again = ["GB it then held", "stop, ms", "start with them, ms"]
    return table([*head, "bytes written to disk per byte produced", *again], rows)


def floors(results):
    rows = [
        ["loopback TCP, one stream, MB/s", spread(results.floor("tcp", "bytes_per_second", 1e-6))],
        ["`sendfile` to it, MB/s", spread(results.floor("sendfile", "bytes_per_second", 1e-6))],
        ["round trip of 100 bytes, p50 ms", spread(results.floor("round_trip", "p50_ms"), 3)],
        ["round trip of 100 bytes, p99 ms", spread(results.floor("round_trip", "p99_ms"), 3)],
    ]
    for name, label in (("fdatasync_4_kib", "4 KiB"), ("fdatasync_1_mib", "1 MiB")):
        for quantile in ("p50", "p99"):
            found = spread(results.floor(name, f"{quantile}_ms"), 3)
            rows.append([f"`pwrite` of {label} and `fdatasync`, {quantile} ms", found])
    rate = results.floor("fdatasync_1_mib", "bytes_per_second", 1e-6)
    rows.append(["`pwrite` of 1 MiB and `fdatasync`, MB/s", spread(rate)])
    # What the kernel alone takes of the processor, which a broker that does the same takes too.
    for name, label in (
        ("tcp", "loopback TCP"),
        ("sendfile", "`sendfile`"),
        ("fdatasync_1_mib", "`pwrite` of 1 MiB and `fdatasync`"),
    ):
        seconds = spread(results.floor(name, "cpu_s_per_gb"), 2)
        rows.append([f"{label}, processor seconds a GB", seconds])
    return table(["floor", ""], rows)


def summary(results):
    """The few figures that the README shows."""
    names = list(results.systems)
    p99 = latency("end_to_end_ms", "p99")
    cpu = {"produced": "produce 1 KiB", "fetched": "fetch hot"}
    rows = [
        ("Produce 1 KiB, MB/s", lambda it: results.runs(it, "produce 1 KiB", megabytes), 0),
        ("Produce 100 B, MB/s", lambda it: results.runs(it, "produce 100 B", megabytes), 0),
        (
            "The same by librdkafka, 1 KiB",
            lambda it: results.runs(it, "librdkafka produce 1 KiB", megabytes),
            0,
        ),
        ("Fetch, MB/s", lambda it: results.runs(it, "fetch hot", megabytes), 0),
        (
            "End to end p99 at 1,000/s, ms",
            lambda it: results.runs(it, "latency 1,000/s", p99),
            2,
        ),
        *[
            (
                f"Broker's CPU seconds a GB {verb}",
                lambda it, workload=workload: results.runs(it, workload, cpu_per_gb),
                2,
            )
            for verb, workload in cpu.items()
        ],
        ("Start to first acknowledged record, ms", lambda it: results.of(it, "start_s", 1e3), 0),
        ("Resident when idle, MB", lambda it: results.of(it, "idle_resident_bytes", 1e-6), 0),
    ]
    median = lambda values, digits: f"{statistics.median(values):,.{digits}f}" if values else ""
    cells = ([label, *[median(of(it), digits) for it in names]] for label, of, digits in rows)
    return table(["", *names], cells)


def tail_costs(results):
    """Processor seconds with tail consumers, in those that loopback TCP takes for the same bytes.

    First all that the broker takes with ten of them, for all that it moves: in once, which is
    written and synced too, and out to each. Then what nine of them add to one, for their bytes.
    """
    raw = results.floor("tcp", "cpu_s_per_gb")
    one = results.runs(TIDELOG, "1 tail consumer", cpu_per_gb)
    ten = results.runs(TIDELOG, "10 tail consumers", cpu_per_gb)
    added = [with_ten - with_one for with_ten, with_one in zip(ten, one)]
    yield "ten tail consumers: CPU, of the bytes moved raw", ratio(ten, [11 * it for it in raw])
    yield "nine more than one: CPU, of their bytes moved raw", ratio(added, [9 * it for it in raw])


def targets(results):
    """What was wanted, what was found, and whether that is enough."""
    median = lambda values: statistics.median(values) if values else None
    runs, rows = results.runs, []

    def add(label, found, limit, most=False, digits=2):
        if found is None or limit is None:
            return
        met = found <= limit if most else found >= limit
        sign = "at most" if most else "at least"
        verdict = "met" if met else "**missed**"
        rows.append([label, f"{found:.{digits}f}", f"{sign} {limit:.{digits}f}", verdict])

    for load in ("produce", "librdkafka produce"):
        for size in ("1 KiB", "100 B"):
            name = f"{load} {size}"
            ours = runs(TIDELOG, name, megabytes)
            add(f"{name}: of the black hole's", ratio(ours, runs(BLACK_HOLE, name, megabytes)), 0.9)
            add(f"{name}: times Kafka's", ratio(ours, runs(KAFKA, name, megabytes)), 2)
    # The black hole writes nothing; this is what the disk alone would take.
    disk = results.floor("fdatasync_1_mib", "bytes_per_second", 1e-6)
    ours = runs(TIDELOG, "produce 1 KiB", megabytes)
    add("produce 1 KiB: of `pwrite`'s and `fdatasync`'s, 1 MiB each", ratio(ours, disk), 0.9)
    for name in ("produce 1 KiB", "fetch hot"):
        ours = runs(TIDELOG, name, cpu_per_gb)
        add(f"{name}: CPU of Kafka's", ratio(ours, runs(KAFKA, name, cpu_per_gb)), 0.25, True)
    sendfile = results.floor("sendfile", "bytes_per_second", 1e-6)
    hot = runs(TIDELOG, "fetch hot", megabytes)
    add("fetch hot: of `sendfile`'s", ratio(hot, sendfile), 0.9)
    for label, found in tail_costs(results):
        add(label, found, 1.3, True)
    end_to_end = lambda quantile: latency("end_to_end_ms", quantile)
    rate = "latency 1,000/s"
    add("end to end p50, ms", median(runs(TIDELOG, rate, end_to_end("p50"))), 1, True)
    p99 = runs(TIDELOG, rate, end_to_end("p99"))
    sync = median(results.floor("fdatasync_4_kib", "p99_ms"))
    trip = median(results.floor("round_trip", "p99_ms"))
    add("end to end p99, ms, of the floor's × 1.5", median(p99), 1.5 * (sync + 2 * trip), True)
    add("end to end p99: of Kafka's", ratio(p99, runs(KAFKA, rate, end_to_end("p99"))), 0.2, True)
    add("start, ms", median(results.of(TIDELOG, "start_s", 1e3)), 30, True, 1)
    add("idle MB", median(results.of(TIDELOG, "idle_resident_bytes", 1e-6)), 20, True, 1)
    add("idle CPU, %", median(results.of(TIDELOG, "idle_cpu_share", 100)), 0.1, True)
    versions = results.raw["versions"]
    if "stripped_binary_bytes" in versions:
        add("stripped binary, MB", versions["stripped_binary_bytes"] / 1e6, 25, True, 1)
    else:  # Result files of before it was measured.
        add("binary, MB", versions["binary_bytes"] / 1e6, 25, True, 1)
    one = runs(TIDELOG, "produce 1 KiB", megabytes)
    many = runs(TIDELOG, "produce 1,000 partitions", megabytes)
    add("1,000 partitions: of one's throughput", ratio(many, one), 0.7)
    few = runs(TIDELOG, "produce 16 connections", megabytes)
    crowd = runs(TIDELOG, "produce 500 connections", megabytes)
    add("500 connections: of 16's throughput", ratio(crowd, few), 0.8)
    return table(["target", "found", "wanted", ""], rows)


def write(raw, path):
    """The tables and the plot, beside the result file."""
    results = Results(raw)
    versions = raw["versions"]
    about = [f"- **{it}** {versions[it]}: {raw['about'][it]}" for it in results.systems]
    machine = raw["machine"]
    per_gb, names = processor(results, cpu_per_gb)
    per_million, _ = processor(results, cpu_per_million)
    head = [*names, "tidelog / kafka"]
    parts = [
        f"# Measured {raw['date']}, commit {raw['commit'][:12]}\n\n",
        f"`{raw['command']}` on {machine['processors']} processors ({machine['processor']}), ",
        f"brokers and clients on {raw['cpus']}; {raw['rounds']} rounds, {raw['seconds']} s a ",
        "workload. A figure is the median (least to most); a ratio is the median of the rounds' ",
        "ratios.\n\n" + "\n".join(about) + "\n\n",
        "## In short\n\n" + summary(results),
        "## Targets\n\n" + targets(results),
        "## Throughput\n\n" + throughput(results),
        "## Latency\n\n" + latencies(results),
        "## Broker's processor seconds a GB\n\n" + table(["s", *head], per_gb),
        "## Broker's processor seconds a million records\n\n" + table(["s", *head], per_million),
        "## Processor seconds a GB, as something grows\n\n" + growth(results),
        "## The process\n\n" + processes(results),
        "## The machine's floors\n\n" + floors(results),
    ]
    if raw["failures"]:
        failed = "".join(f"- {it}\n" for it in raw["failures"])
        parts.append("## What could not be measured\n\n" + failed)
    path.with_suffix(".md").write_text("".join(parts).rstrip() + "\n")
    path.with_suffix(".svg").write_text(plot.draw(results))
