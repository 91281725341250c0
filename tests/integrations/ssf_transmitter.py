"""A small transmitter of shared signals, as the specifications have one: streams, status, subjects, polls.

Made of the standard library and joserfc, and of nothing of ours: what it has sent and was not told of comes
again, and what it was told is kept for the test to look at.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from ssf_makers import AUDIENCE, SSF, Issuer

POLL, PUSH = "urn:ietf:rfc:8936", "urn:ietf:rfc:8935"
SUPPORTED = ["https://schemas.openid.net/secevent/caep/event-type/session-revoked"]


class Transmitter:
    """One issuer at the address of its own server."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.streams = dict[str, dict[str, Any]]()
        self.statuses = dict[str, dict[str, Any]]()
        self.subjects = list[Any]()
        #: By jti what is to be polled, and what was answered of each.
        self.waiting = dict[str, str]()
        self.acknowledged = list[str]()
        self.refused = dict[str, Any]()
        self.questions = list[dict[str, Any]]()
        self.tokens = list[str | None]()
        self.failing = 0
        self.garbage: bytes | None = None
        self.silent_about_state = False
        self._clock, self._came = clock, threading.Condition()
        transmitter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                parts = urlsplit(self.path)
                query = {name: each[0] for name, each in parse_qs(parts.query).items()}
                transmitter.tokens.append(self.headers.get("authorization"))
                status, answer = transmitter.answer(self.command, parts.path, query, body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                if status != 204:
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.issuer = Issuer(self.url)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def __enter__(self) -> Transmitter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._came:
            self._came.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def poll_url(self) -> str:
        return self.url + "/poll"

    @property
    def metadata(self) -> dict[str, Any]:
        return {
            "spec_version": "1_0",
            "issuer": self.url,
            "jwks_uri": self.url + "/jwks",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": self.url + "/stream",
            "status_endpoint": self.url + "/status",
            "add_subject_endpoint": self.url + "/subjects:add",
            "remove_subject_endpoint": self.url + "/subjects:remove",
            "verification_endpoint": self.url + "/verify",
        }

    def send(self, event: str, members: Any = None, **changed: Any) -> str:
        """Have an event polled; its jti."""
        claims = self.issuer.claims(event, members, **{"iat": int(self._clock()), **changed})
        self.put(claims["jti"], self.issuer.signed(self.issuer.header(), claims).decode())
        return str(claims["jti"])

    def put(self, jti: str, text: str) -> None:
        with self._came:
            self.waiting[jti] = text
            self._came.notify_all()

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        if self.failing:
            self.failing -= 1
            return 503, {}
        if self.garbage is not None:
            return 200, self.garbage
        match method, path:
            case "GET", "/.well-known/ssf-configuration":
                return 200, self.metadata
            case "GET", "/jwks":
                return 200, self.issuer.jwks
            case "POST", "/poll":
                return 200, self._poll(body)
            case "POST", "/stream":
                return 201, self._create(body)
            case _, "/stream":
                return self._configure(method, query, body)
            case "GET", "/status":
                return 200, self.statuses[query["stream_id"]]
            case "POST", "/status":
                self.statuses[body["stream_id"]] = body
                return 200, body
            case "POST", "/subjects:add":
                self.subjects.append((body["subject"], body["verified"]))
                return 200, b""
            case "POST", "/subjects:remove":
                self.subjects = [each for each in self.subjects if each[0] != body["subject"]]
                return 204, b""
            case "POST", "/verify":
                self._verify(body)
                return 204, b""
        return 404, {}

    def _poll(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._came:
            self.questions.append(body)
            for jti in body.get("ack", []):
                self.waiting.pop(jti, None)
                self.acknowledged.append(jti)
            for jti, told in body.get("setErrs", {}).items():
                self.waiting.pop(jti, None)
                self.refused[jti] = told
            if not self.waiting and not body.get("returnImmediately", False):
                self._came.wait(30)
            some = list(self.waiting.items())[: body.get("maxEvents", 100)]
            return {"sets": dict(some), "moreAvailable": len(self.waiting) > len(some)}

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        stream_id = f"s-{len(self.streams) + 1}"
        delivery = dict(body.get("delivery", {"method": POLL}))
        if delivery["method"] == POLL:
            delivery["endpoint_url"] = self.poll_url
        supplied = {"stream_id": stream_id, "iss": self.url, "aud": AUDIENCE, "events_delivered": SUPPORTED}
        self.streams[stream_id] = {**body, "delivery": delivery, **supplied}
        self.statuses[stream_id] = {"stream_id": stream_id, "status": "enabled"}
        return self.streams[stream_id]

    def _configure(self, method: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        stream_id = query.get("stream_id") or body["stream_id"]
        if stream_id not in self.streams:
            return 404, {}
        stream = self.streams[stream_id]
        if method == "DELETE":
            del self.streams[stream_id]
            return 204, b""
        if method == "PATCH":
            stream.update(body)
        elif method == "PUT":
            kept = ("stream_id", "iss", "aud", "events_delivered")
            self.streams[stream_id] = {**{name: stream[name] for name in kept}, **body}
        return 200, self.streams[stream_id]

    def _verify(self, body: dict[str, Any]) -> None:
        about = {"format": "opaque", "id": body["stream_id"]}
        members = {} if self.silent_about_state else {"state": body["state"]}
        delivery = self.streams[body["stream_id"]]["delivery"]
        if delivery["method"] == POLL:
            self.send(SSF + "verification", members, sub_id=about)
            return
        data = self.issuer.set(SSF + "verification", members, sub_id=about, iat=int(self._clock()))
        headers = {"content-type": "application/secevent+jwt"}
        if "authorization_header" in delivery:
            headers["authorization"] = delivery["authorization_header"]
        answer = httpx.post(delivery["endpoint_url"], content=data, headers=headers)
        assert answer.status_code == 202, answer.text
