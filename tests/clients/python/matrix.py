"""What the Python programs share: the sample records, and how a program tells of its scenarios."""

import json
import os
import subprocess
import sys
import traceback

BOOTSTRAP = os.environ["TIDELOG_BOOTSTRAP"]
USERNAME = os.environ["TIDELOG_USERNAME"]
PASSWORD = os.environ["TIDELOG_PASSWORD"]
# The authority to trust, where the broker speaks TLS.
CA = os.environ.get("TIDELOG_CA")
SECURITY = "SASL_SSL" if CA else "SASL_PLAINTEXT"
# As librdkafka is told of it.
TRUST = {"ssl.ca.location": CA} if CA else {}
# Of group members: "consumer" where the broker assigns.
PROTOCOL = os.environ.get("TIDELOG_GROUP_PROTOCOL", "classic")
SESSION_TIMEOUT_MS = 6000
WAIT_S = 30

# (key, value, headers): six tiny batches, and one of about 900 KB.
SAMPLES = [
    (b"plain", b"hello", [("trace", b"abc"), ("empty", b"")]),
    (None, b"no key", []),
    (b"gone", None, []),
    ("ключ".encode(), "naïve ☃ 東京".encode(), [("naïve", "☃".encode())]),
    (b"empty", b"", []),
    (b"\x00\xff", bytes(range(256)), []),
    (b"large", b"0123456789abcdef" * 56_250, []),
]
TOO_LARGE = b"x" * 2_000_000


class Absent(Exception):
    """This client has no such thing; the message tells what is missing."""


def absent(reason):
    def scenario():
        raise Absent(reason)
    return scenario


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: {str(got)[:300]}, not {str(wanted)[:300]}")


def expect_samples(records):
    """`records` are (offset, key, value, headers), in the order they were read."""
    expect("how many records", len(records), len(SAMPLES))
    for offset, (record, sample) in enumerate(zip(records, SAMPLES)):
        got = (*record[:3], [(key, value) for key, value in record[3] or []])
        expect(f"record {offset}", got, (offset, *sample))


def start_member():
    """This program again, as the member of the group `crash` that is to be killed."""
    return subprocess.Popen([sys.executable, sys.argv[0], "member"], stdout=sys.stderr)


def run(scenarios, member=None):
    """Runs the scenarios named on the command line, or all, and prints a line for each."""
    if sys.argv[1:] == ["member"]:
        return member()
    for name in sys.argv[1:] or scenarios:
        ok, detail = True, ""
        try:
            scenarios[name]()
        except Absent as reason:
            ok, detail = None, str(reason)
        except Exception as error:
            traceback.print_exc()
            ok, detail = False, f"{type(error).__name__}: {error}"
        print(json.dumps({"scenario": name, "ok": ok, "detail": detail}), flush=True)
