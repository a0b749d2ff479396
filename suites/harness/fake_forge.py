"""The part of the GitHub API that posting needs, on this machine: comments and checks are kept, calls are noted."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

REPOSITORY, TOKEN, BOT = "owner/name", "secret-token", "github-actions[bot]"
SHA = "9f8e7d6c" * 5


@dataclass
class FakeForge:
    """`failures` are statuses that the next calls are answered with instead."""

    url: str = ""
    pulls: list[dict[str, Any]] = field(default_factory=list)
    comments: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    def pull(self, number: int, *, owner: str = "stranger", branch: str = "feature", sha: str = SHA) -> None:
        self.pulls.append({"number": number, "head": {"sha": sha, "label": f"{owner}:{branch}"}})

    def said(self, body: str, *, login: str = BOT) -> None:
        self.comments.append({"id": 100 + len(self.comments), "user": {"login": login}, "body": body})

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        below = path.removeprefix(f"/repos/{REPOSITORY}")
        if (method, below) == ("GET", "/pulls"):
            return 200, [pull for pull in self.pulls if pull["head"]["label"] == query["head"][0]]
        if method == "GET" and below.endswith("/comments"):
            start = (int(query["page"][0]) - 1) * 100
            return 200, self.comments[start : start + 100]
        if method == "POST" and below.endswith("/comments"):
            self.said(body["body"])
            return 201, self.comments[-1]
        if method == "PATCH":
            found = next(one for one in self.comments if below == f"/issues/comments/{one['id']}")
            found["body"] = body["body"]
            return 200, found
        if (method, below) == ("POST", "/check-runs"):
            self.checks.append(body)
            return 201, body
        return 404, {"message": "Not Found"}


@contextmanager
def fake_forge() -> Iterator[FakeForge]:
    forge = FakeForge()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            place = urlsplit(self.path)
            forge.calls.append(f"{self.command} {place.path}")
            forge.headers.append(dict(self.headers))
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"null")
            status, found = self._refused() or forge.answer(self.command, place.path, parse_qs(place.query), body)
            data = json.dumps(found).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("Location", f"{forge.url}/elsewhere")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _refused(self) -> tuple[int, Any] | None:
            return (forge.failures.pop(0), {"message": "no, thank you"}) if forge.failures else None

        do_GET = do_POST = do_PATCH = _serve

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    forge.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield forge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
