"""Alerts are posted to who was named, in a form that only we can have made, within a bound."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ztsession.errors import ConfigurationError, TransportError
from ztsession.risk.alert import Alert
from ztsession.risk.alert_settings import WebhookSettings
from ztsession.risk.alerts import Alerts
from ztsession.risk.levels import Level

pytest.importorskip("httpx", reason="webhooks need httpx: install ztsession[http]")

from ztsession.integrations import webhook as module
from ztsession.integrations.webhook import WebhookSink, open_alerts, signature

KEYS = (bytes(range(32)), bytes(range(32, 96)))
NOW = 1_700_000_000.25
#: Answers what it was asked after the attempt is over.
SLOW = 0


class Receiver:
    """A receiver that answers with the statuses it was given, 200 in the end, and keeps what it got."""

    def __init__(self, *statuses: int, headers: dict[str, str] | None = None, tls: Any = None) -> None:
        self.statuses, self.got = list(statuses), list[tuple[dict[str, str], bytes]]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == SLOW:
                    receiver.slow.wait(20)
                    return
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.slow = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self.slow.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def ids(self) -> set[str]:
        return {headers["webhook-id"] for headers, _ in self.got}


@pytest.fixture
def receiving() -> Iterator[Callable[..., Receiver]]:
    made = list[Receiver]()

    def start(*statuses: int, **options: Any) -> Receiver:
        made.append(Receiver(*statuses, **options))
        return made[-1]

    yield start
    for receiver in made:
        receiver.close()


def sink(port: int, scheme: str = "http", **options: Any) -> WebhookSink:
    settings = WebhookSettings("pager", f"{scheme}://127.0.0.1:{port}/hook", KEYS)
    return WebhookSink(settings, **{"pause_min_s": 0.01, **options})


def alert(**changed: Any) -> Alert:
    given = {"level": Level.HIGH, "about": ("subject", "algo-7"), "why": "posture drift", "time": NOW}
    return Alert("session.suspended", **{**given, **changed})


def verified(headers: dict[str, str], body: bytes) -> Any:
    """The body, read as a receiver of Standard Webhooks reads it, with either key."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    given = [each.removeprefix("v1,") for each in headers["webhook-signature"].split(" ")]
    own = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in KEYS]
    assert given == own
    return json.loads(body)


def test_the_signature_is_that_of_standard_webhooks():
    """The vector of that project's own libraries."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_an_alert_arrives_signed(receiving):
    """One POST with the three headers and a body of JSON, which verifies with either of two keys."""
    receiver = receiving()
    before = int(time.time())
    sink(receiver.port).tell(alert(count=3, untold=2))
    ((headers, body),) = receiver.got
    assert verified(headers, body) == {
        "type": "session.suspended",
        "timestamp": "2023-11-14T22:13:20.250000Z",
        "data": {
            "level": "HIGH",
            "about": {"kind": "subject", "name": "algo-7"},
            "why": "posture drift",
            "count": 3,
            "untold": 2,
        },
    }
    assert headers["content-type"] == "application/json"
    assert before <= int(headers["webhook-timestamp"]) <= time.time()
    assert body.isascii()


def test_what_may_pass_is_tried_again_under_the_same_id(receiving):
    """A receiver can tell a repeated attempt from a second alert, and each attempt has its own time."""
    receiver, times = receiving(500, 503, 408, 429), iter(range(100, 200))
    told = sink(receiver.port, clock=lambda: float(next(times)))
    told.tell(alert())
    assert len(receiver.got) == 5
    assert len(receiver.ids()) == 1
    assert [headers["webhook-timestamp"] for headers, _ in receiver.got] == [
        "100",
        "101",
        "102",
        "103",
        "104",
    ]
    for headers, body in receiver.got:
        verified(headers, body)
    told.tell(alert())
    assert len(receiver.ids()) == 2


def test_what_will_not_pass_is_not_tried_again(receiving):
    """A refusal of what was sent, and a redirect, which nobody follows."""
    for status in (301, 307, 400, 401, 403, 404, 410, 422):
        elsewhere = receiving()
        receiver = receiving(
            status, headers={"location": f"http://127.0.0.1:{elsewhere.port}/", "retry-after": "0"}
        )
        with pytest.raises(TransportError, match=f"^status {status}$"):
            sink(receiver.port).tell(alert())
        assert (len(receiver.got), len(elsewhere.got)) == (1, 0), status


def test_a_receiver_that_asks_to_wait_is_given_time(receiving):
    """Retry-After in seconds is kept to within our own bound, and nonsense in it is not."""
    receiver = receiving(429, headers={"retry-after": "1"})
    before = time.monotonic()
    sink(receiver.port).tell(alert())
    assert time.monotonic() - before >= 1.0
    for nonsense in ("-1", "1e9", "\u0663", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        receiver = receiving(429, headers={"retry-after": nonsense.encode("utf-8").decode("latin-1")})
        sink(receiver.port).tell(alert())
        assert len(receiver.got) == 2
    assert module._asked_wait_s("9" * 500) == module.PAUSE_MAX_S


def test_a_receiver_that_is_down_costs_one_alert_its_attempts(receiving):
    """The first is tried until its time is over, those after it once, until one gets through."""
    receiver = receiving(*[500] * 1000)
    told = sink(receiver.port, alert_s=0.3)
    with pytest.raises(TransportError, match="status 500"):
        told.tell(alert())
    tried = len(receiver.got)
    assert tried > 1
    for _ in range(3):
        with pytest.raises(TransportError):
            told.tell(alert())
    assert len(receiver.got) == tried + 3
    receiver.statuses[:] = [200, 500]
    told.tell(alert())
    told.tell(alert())
    assert len(receiver.got) == tried + 6


def test_D4_an_attempt_ends_after_its_time(receiving):
    """Neither silence nor a byte now and then holds an attempt up."""
    receiver = receiving(SLOW)
    told = sink(receiver.port, attempt_s=0.2)
    told.tell(alert())
    assert len(receiver.got) == 2
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def dribble() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                while not stop.wait(0.02):
                    try:
                        connected.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=dribble)
        thread.start()
        with pytest.raises(TransportError, match=r"no answer within 0\.2 s"):
            sink(listening.getsockname()[1], attempt_s=0.2, alert_s=0.0).tell(alert())
        stop.set()
        thread.join()


def test_nobody_there_is_told_without_the_address():
    """An address may hold what others must not know."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        sink(port, alert_s=0.0).tell(alert())
    assert str(caught.value) == "could not be reached: ConnectError"


def test_the_receiver_must_be_who_its_certificate_says(
    receiving, certificates: Any, monkeypatch: pytest.MonkeyPatch
):
    """Over TLS a certificate that no root of the system's vouches for gets nothing."""
    receiver = receiving(tls=certificates.server())
    with pytest.raises(TransportError, match="could not be reached"):
        sink(receiver.port, "https", alert_s=0.0).tell(alert())
    assert receiver.got == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.certificate))
    sink(receiver.port, "https").tell(alert())
    assert len(receiver.got) == 1


def test_closing_ends_the_pauses(receiving, eventually: Callable[..., None]):
    """Whoever stops is not kept by a receiver that is down."""
    receiver = receiving(*[500] * 1000)
    told = Alerts([sink(receiver.port, pause_min_s=60, alert_s=600)])
    told.raise_alert(alert())
    eventually(lambda: len(receiver.got) == 1)
    told.close(0.01)
    for thread in told._threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in told._threads)
    assert told.lost == {"webhook pager": 1}


def test_settings_become_sinks(tmp_path: Path, receiving, caplog: pytest.LogCaptureFixture):
    """With alerts.toml in the policy directory, an alert is in the log and at the receiver."""
    receiver = receiving()
    secret = tmp_path / "pager.secret"
    secret.write_text("".join(f"whsec_{base64.b64encode(key).decode()}\n" for key in KEYS))
    secret.chmod(0o600)
    (tmp_path / "alerts.toml").write_text(
        f'[webhooks.pager]\nurl = "http://127.0.0.1:{receiver.port}/"\nsecret_file = "pager.secret"\n'
    )
    with open_alerts(tmp_path) as told:
        told.raise_alert(alert())
        assert told.flush(20)
    assert verified(*receiver.got[0])["type"] == "session.suspended"
    assert '"what":"session.suspended"' in caplog.text


def test_webhooks_without_httpx_are_refused_at_the_start():
    """Not when the first alert is to be told."""
    script = (
        "import sys; sys.modules['httpx'] = None\n"
        "from ztsession.integrations.webhook import WebhookSink\n"
        "from ztsession.risk.alert_settings import WebhookSettings\n"
        "WebhookSink(WebhookSettings('a', 'https://a.example', (bytes(32),)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "webhooks need httpx" in done.stderr
    assert ConfigurationError.__name__ in done.stderr


def test_what_is_in_the_open_goes_through_no_proxy(
    receiving: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
):
    """Plain HTTP is for this machine, and a proxy of the environment is another."""
    receiver, proxy = receiving(), receiving()
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("no_proxy", "")
    sink(receiver.port).tell(alert())
    assert (len(receiver.got), len(proxy.got)) == (1, 0)
