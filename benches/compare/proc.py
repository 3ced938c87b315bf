"""Processes: started on the same processors, and what the kernel knows of them."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STOP_S = 60
# Between two looks at a process's memory.
LOOK_S = 0.1
# Files of zeros that fill memory.
FILL = Path(__file__).resolve().parents[2] / "target" / "compare" / "fill"


class Process:
    """A broker: its standard output goes to a file, which is also where it says it is ready."""

    def __init__(self, command, cpus, log):
        self.log = Path(log)
        self.command = [str(it) for it in command]
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(pinned(self.command, cpus), stdout=out, stderr=out)
        self.pid = self.child.pid
        self.peak_own = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def alive(self):
        return self.child.poll() is None

    def cpu_s(self):
        """User and system seconds so far."""
        fields = self._read("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def on_cpu_s(self):
        """The same of the threads that are there now, to the nanosecond instead of the tick."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def written(self):
        """Bytes it made the disk write so far."""
        return self._number("io", "write_bytes:")

    def resident(self):
        return self._number("status", "VmRSS:") * 1024

    def own(self):
        """What of that is its own: no page of a file, which the kernel takes back at will."""
        anonymous, shared = (self._number("status", it) for it in ("RssAnon:", "RssShmem:"))
        return (anonymous + shared) * 1024

    def _watch(self):
        """The kernel keeps no peak of what is its own; so this looks often."""
        while self.alive():
            try:
                self.peak_own = max(self.peak_own, self.own())
            except (OSError, StopIteration):
                return  # It has ended.
            time.sleep(LOOK_S)

    def peak(self):
        return self._number("status", "VmHWM:") * 1024

    def _read(self, name):
        return Path(f"/proc/{self.pid}/{name}").read_text()

    def _number(self, name, field):
        line = next(it for it in self._read(name).splitlines() if it.startswith(field))
        return int(line.split()[1])


def pinned(command, cpus):
    return ["taskset", "-c", cpus, *map(str, command)]


def run(command, cpus, timeout_s, environment={}):
    """Runs a load and gives what it printed; a load that fails is told by its own words."""
    done = subprocess.run(
        pinned(command, cpus),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **environment},
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it printed nothing"]
        raise LoadFailed(lines[-1][:200])
    return done.stdout


class LoadFailed(Exception):
    """A load could not be put on a broker."""


def last_json(text):
    return json.loads(text.strip().splitlines()[-1])


def forget_page_cache(directory):
    """Asks the kernel to drop what it caches of a directory's logs, so that the disk is read."""
    for path in Path(directory).rglob("*.log"):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def fill_memory():
    """Has the page cache take the memory that is free, with a file of zeros that takes no disk.

    On a virtual machine free memory may have been given back to the host. Whoever writes into it
    then pays for having it fetched, twenty times what the write costs: with this, nobody does, since
    the kernel reuses pages of the cache. The files are to stay until the end.
    """
    FILL.mkdir(exist_ok=True)
    for _ in range(2):
        zeros = FILL / str(len(list(FILL.iterdir())))
        with open(zeros, "w+b", buffering=0) as file:
            file.truncate(memory_bytes("MemFree"))
            part = bytearray(1 << 20)
            while file.readinto(part):
                pass


def memory_bytes(name):
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(it.split()[1]) * 1024 for it in lines if it.startswith(f"{name}:"))


def log_bytes(directory):
    """Bytes in a directory's logs."""
    return sum(path.stat().st_size for path in Path(directory).rglob("*.log"))


def idle_share(process, seconds):
    """The share of one processor it takes when nobody asks anything."""
    before = process.on_cpu_s()
    time.sleep(seconds)
    return (process.on_cpu_s() - before) / seconds
