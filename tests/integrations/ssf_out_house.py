"""A house whose Authority tells others: its application behind uvicorn, receivers, and a place to push to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from ssf_out_schemas import CAEP, POLL, PUSH, STREAM, check, only_event, read_set

import ztsession as zts
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.callers import new_caller_token
from ztsession.integrations.ssf_transmitter import SsfTransmitter

ISSUER = "https://zt.firm.example"


class Receiver:
    """One receiver: what it calls the transmitter with."""

    def __init__(self, name: str) -> None:
        self.name, self.token = name, new_caller_token()

    def table(self, *, push_hosts: tuple[str, ...] = (), events: tuple[str, ...] = ()) -> str:
        """Its table of ssf.toml."""
        lines = [
            f"[transmitter.receivers.{self.name}]",
            f'digest = "{self.token.digest}"',
            f'audience = ["https://{self.name}.example"]',
            f"push_hosts = {list(push_hosts)}",
        ]
        return "\n".join([*lines, *([f"events = {list(events)}"] if events else [])]) + "\n"


class Listening:
    """A real HTTP server that SETs are pushed to; answers as it is told, 202 if nothing is said."""

    def __init__(self, *answers: tuple[int, str]) -> None:
        self.answers, self.taken = list(answers), list[tuple[dict[str, str], str]]()
        listening = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                status, said = listening.answers.pop(0) if listening.answers else (202, "")
                headers = {name.lower(): value for name, value in self.headers.items()}
                listening.taken.append((headers, body))
                self.send_response(status)
                if status in (301, 307):
                    self.send_header("location", said)
                    said = ""
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/events"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Served:
    """An application behind uvicorn, in a thread, on a port of its own."""

    def __init__(self, app: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_config=None, ws="none", http="h11", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))

    def __enter__(self) -> Served:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def write_settings(rules: Path, *tables: str, issuer: str = ISSUER, more: str = "") -> None:
    """Lay down ssf.toml."""
    (rules / "ssf.toml").write_text(f'[transmitter]\nissuer = "{issuer}"\n{more}\n' + "\n".join(tables))


class Telling:
    """A transmitter that is served, and one receiver's conversation with it."""

    def __init__(self, house: Any, receiver: Receiver, opened: ExitStack, **options: Any) -> None:
        self.house, self.receiver = house, receiver
        self.authority: zts.Authority = house.authority(**options.pop("authority", {}))
        self.door = SsfTransmitter(self.authority, **options)
        app = AuthorityApp(self.authority, doors=[self.door])
        self.url = opened.enter_context(Served(app)).url
        self.client = self.of(receiver, opened)

    def of(self, receiver: Receiver, opened: ExitStack) -> httpx.Client:
        """A client that shows this receiver's token."""
        headers = {"authorization": f"Bearer {receiver.token.token}"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)
        return opened.enter_context(client)

    def create(self, client: httpx.Client | None = None, **wanted: Any) -> dict[str, Any]:
        """Make the receiver's stream."""
        answer = (client or self.client).post("/ssf/stream", json=wanted)
        assert answer.status_code == 201, answer.text
        stream: dict[str, Any] = check(answer.json(), STREAM)
        return stream

    def pushed_to(self, url: str, **more: Any) -> dict[str, Any]:
        """Make it one that is pushed."""
        return self.create(delivery={"method": PUSH, "endpoint_url": url, **more})

    def poll(self, stream: dict[str, Any], client: httpx.Client | None = None, **asked: Any) -> Any:
        """One poll; at once unless said otherwise."""
        path = stream["delivery"]["endpoint_url"].removeprefix(ISSUER)
        answer = (client or self.client).post(path, json={"returnImmediately": True, **asked})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def jwks(self) -> Any:
        """The published keys."""
        return self.client.get("/ssf/jwks").json()

    def read(self, token: str) -> dict[str, Any]:
        """The claims of a SET."""
        return read_set(token, self.jwks())

    def events(self, stream: dict[str, Any], **asked: Any) -> list[tuple[str, dict[str, Any]]]:
        """Poll, and take all there is."""
        sets = self.poll(stream, **asked)["sets"]
        self.poll(stream, ack=list(sets), maxEvents=0)
        return [only_event(self.read(token)) for token in sets.values()]

    def drift(self, number: int = 1, *, withdraws: bool = False, level: zts.Level = zts.Level.HIGH) -> None:
        """Something says that host-1 has drifted, or takes it back."""
        self.authority.signal(
            zts.Signal(
                f"drift-{number}",
                "posture-drift",
                level,
                "edr",
                time.time(),
                device="host-1",
                withdraws=withdraws,
            )
        )


__all__ = ["CAEP", "ISSUER", "POLL", "PUSH", "Listening", "Receiver", "Served", "Telling", "write_settings"]
Waiting = Callable[[Callable[[], bool]], None]
