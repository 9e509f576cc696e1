"""A schema registry in memory, on a real socket, as far as the requests go that a worker makes.

It answers what a real one does not when asked to: proxies' pages, refused logins, nothing. What it has in common with a
real one, both are asked by the same tests (`registry_contract`). Paths, codes and bodies are those of Confluent's API
reference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class SchemaStore:
    """What the server knows. `answer` (status, body), when set, is given to every request instead."""

    def __init__(self) -> None:
        self.url = ""
        self.texts: list[str] = []
        self.subjects: dict[str, list[int]] = {}
        self.closed_subjects: set[str] = set()
        self.schema_type: str | None = None
        self.login: str | None = None
        self.answer: tuple[int, bytes] | None = None
        self.requests: list[str] = []

    def add(self, text: str) -> int:
        """The id of a schema: equal texts have equal ids, whatever their subjects."""
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1

    def post(self, subject: str, body: dict[str, Any]) -> tuple[int, Any]:
        if subject in self.closed_subjects:
            return 409, {"error_code": 409, "message": "Schema being registered is incompatible with an earlier schema"}
        number = self.add(body["schema"])
        self.subjects.setdefault(subject, []).append(number)
        return 200, {"id": number}

    def get(self, number: int) -> tuple[int, Any]:
        if not 0 < number <= len(self.texts):
            return 404, {"error_code": 40403, "message": f"Schema {number} not found"}
        kind = {"schemaType": self.schema_type} if self.schema_type else {}
        return 200, {"schema": self.texts[number - 1], **kind}


def _handler(store: SchemaStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(lambda: store.get(int(self.path.rsplit("/", 1)[1])))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(lambda: store.post(self.path.split("/")[-2], body))

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._reply(lambda: (405, {"error_code": 405, "message": "Method Not Allowed"}))

        def _reply(self, find: Any) -> None:
            store.requests.append(f"{self.command} {self.path}")
            if store.answer is not None:
                status, data = store.answer
            elif store.login is not None and self.headers.get("Authorization") != store.login:
                status, data = 401, b'{"error_code": 401, "message": "Unauthorized"}'
            else:
                status, found = find()
                data = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Requests are kept in the store instead."""

    return Handler


@contextmanager
def schema_server(store: SchemaStore | None = None) -> Iterator[SchemaStore]:
    """A server on a free port of loopback for as long as the block lasts; `store` may answer in its own way."""
    store = store or SchemaStore()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(store))
    server.daemon_threads = True
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
