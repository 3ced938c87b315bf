"""What goes on over HTTP beside a load of Kafka clients."""

import json
import threading
import urllib.request
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SYNC = "/v1/syncs/sync_c0a9a4e5"
BATCH_RECORDS = 500
REST_TOPIC = "rest-beside"
TIMEOUT_S = 30


class Beside:
    """Something done over and over until the load ends, and how often it was done."""

    def __init__(self, system):
        ready = system.ready()
        self.url, self.done = ready["http"], {}
        login = b64encode(f"{ready['username']}:{ready['password']}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._repeat, args=it) for it in self.steps()]

    def steps(self):
        """What is repeated, each with the name that its results are counted under."""
        raise NotImplementedError

    def prepare(self):
        """Done once, before."""

    def __enter__(self):
        self.prepare()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _repeat(self, what, step):
        self.done[what], turn = 0, 0
        while not self.stopping.is_set():
            turn += 1
            self.done[what] += step(turn)

    def send(self, path, method, body):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), self.headers, method=method
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")


class Ingest(Beside):
    """Puts batches of records in, each record changed every time."""

    def steps(self):
        return [("records ingested", self.ingest)]

    def prepare(self):
        self.send(SYNC, "PUT", {"collections": {"contact": {}}})

    def ingest(self, turn):
        lines = [
            {"op": "upsert", "id": f"{n:03}", "data": {"name": f"Hopper {n}", "turn": turn}}
            for n in range(BATCH_RECORDS)
        ]
        self.send(SYNC + "/collections/contact/records", "POST", lines)
        return len(lines)


class Mixed(Ingest):
    """The same, while records are produced over REST, and pushed to a webhook."""

    def steps(self):
        return [*super().steps(), ("REST records", self.produce), ("webhook calls", self.deliver)]

    def prepare(self):
        super().prepare()
        self.called = threading.Semaphore(0)
        handler = type("Receiver", (Receiver,), {"called": self.called})
        self.receiver = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.receiver.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self.receiver.server_port}/"
        body = {"url": url, "topics": [REST_TOPIC]}
        self.send("/produce", "POST", {"topic": REST_TOPIC, "value": "first"})
        self.webhook = self.send("/v1/webhooks", "POST", body)["id"]

    def __exit__(self, *_):
        super().__exit__()
        self.send(f"/v1/webhooks/{self.webhook}", "DELETE", None)
        self.receiver.shutdown()

    def produce(self, turn):
        self.send("/produce", "POST", {"topic": REST_TOPIC, "value": str(turn)})
        return 1

    def deliver(self, _):
        """Counts a call, if there is one soon."""
        return int(self.called.acquire(timeout=0.1))


class Receiver(BaseHTTPRequestHandler):
    """Says that all is well."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.called.release()

    def log_message(self, *_):
        """Nothing."""
