"""What goes on beside a load: records ingested over HTTP while Kafka clients produce."""

import json
import threading
import urllib.request
from base64 import b64encode

SYNC = "/v1/syncs/sync_c0a9a4e5"
BATCH_RECORDS = 500
TIMEOUT_S = 30


class Ingest:
    """Puts batches of records in, one after the other, each record changed every time."""

    def __init__(self, system):
        ready = system.ready()
        self.url = ready["http"] + SYNC
        login = b64encode(f"{ready['username']}:{ready['password']}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        self.stopping, self.records = threading.Event(), 0
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._send("", "PUT", json.dumps({"collections": {"contact": {}}}))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def _run(self):
        turn = 0
        while not self.stopping.is_set():
            turn += 1
            lines = [
                {"op": "upsert", "id": f"{n:03}", "data": {"name": f"Hopper {n}", "turn": turn}}
                for n in range(BATCH_RECORDS)
            ]
            body = json.dumps(lines)
            self._send("/collections/contact/records", "POST", body)
            self.records += len(lines)

    def _send(self, path, method, body):
        request = urllib.request.Request(
            self.url + path, body.encode(), self.headers, method=method
        )
        urllib.request.urlopen(request, timeout=TIMEOUT_S).read()
