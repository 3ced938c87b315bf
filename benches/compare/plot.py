"""The plot: a panel a question, a bar a system, drawn from a result file."""

import statistics
from html import escape

import report

COLOURS = {
    "tidelog": "#0b7a75",
    "kafka": "#8d99ae",
    "kafka-flush-1": "#b8c0cf",
    "tansu": "#c9ada7",
    "black-hole": "#e3e3e3",
}
WIDTH, COLUMNS = 860, 2
BAR, GAP, HEAD, LABEL, FIGURE = 18, 4, 34, 92, 64
INK, FAINT = "#22303c", "#5c6b78"


def panels(results):
    """Title, and the value of each system that has one."""

    def medians(figure):
        found = {it: figure(it) for it in results.systems}
        return {it: statistics.median(values) for it, values in found.items() if values}

    def rate(workload):
        return medians(lambda it: results.runs(it, workload, report.megabytes))

    def p99(workload):
        figure = report.latency("end_to_end_ms", "p99")
        return medians(lambda it: results.runs(it, workload, figure))

    brokers = lambda found: {it: value for it, value in found.items() if it != "black-hole"}
    cpu = medians(lambda it: results.runs(it, "produce 1 KiB", report.cpu_per_gb))
    return [
        ("Produce 1 KiB, acks=all, MB/s: more is better", rate("produce 1 KiB"), 0),
        ("Fetch, MB/s: more is better", rate("fetch hot"), 0),
        ("Produce 1 KiB by librdkafka, MB/s", rate("librdkafka produce 1 KiB"), 0),
        ("Produce 100 B by librdkafka, MB/s", rate("librdkafka produce 100 B"), 0),
        ("End to end p99 at 1,000/s, ms: less is better", p99("latency 1,000/s"), 2),
        ("Broker's CPU seconds a GB produced: less is better", brokers(cpu), 2),
        (
            "Start to first acknowledged record, ms: less is better",
            brokers(medians(lambda it: results.of(it, "start_s", 1e3))),
            0,
        ),
        (
            "Resident when idle, MB: less is better",
            brokers(medians(lambda it: results.of(it, "idle_resident_bytes", 1e-6))),
            0,
        ),
    ]


def panel(title, values, digits, x, y, width):
    """One panel's SVG, and its height."""
    lines = [text(x, y + 14, title, INK, "600")]
    most, at = max(values.values()), y + HEAD - 10
    for name, value in values.items():
        length = max(value / most * (width - LABEL - FIGURE), 1)
        lines.append(text(x, at + 13, name, FAINT))
        lines.append(
            f'<rect x="{x + LABEL}" y="{at}" width="{length:.1f}" height="{BAR}" rx="2" '
            f'fill="{COLOURS[name]}"/>'
        )
        lines.append(text(x + LABEL + length + 6, at + 13, f"{value:,.{digits}f}", INK))
        at += BAR + GAP
    return lines, at - y + 10


def text(x, y, words, colour, weight="400"):
    style = f'fill="{colour}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def draw(results):
    column = WIDTH // COLUMNS
    lines, y = [], 12
    found = [it for it in panels(results) if it[1]]
    for row in range(0, len(found), COLUMNS):
        heights = []
        for index, (title, values, digits) in enumerate(found[row : row + COLUMNS]):
            drawn, height = panel(title, values, digits, 14 + index * column, y, column - 28)
            lines += drawn
            heights.append(height)
        y += max(heights)
    raw = results.raw
    foot = f"{raw['date'][:10]}, commit {raw['commit'][:12]}, {raw['machine']['processors']} "
    foot += f"processors shared by broker and client; median of {raw['rounds']} rounds"
    lines.append(text(14, y + 12, foot, FAINT))
    height = y + 26
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
    head += 'font-family="system-ui, sans-serif" font-size="12">'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    return "\n".join([head, ground, *lines, "</svg>", ""])
