"""One call and its answer: what is no verified answer to this very call is none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ztsession import InstalledSession, SessionView
from ztsession.client.transport import Transport
from ztsession.demo.calls import CallLine, Calls
from ztsession.demo.promotion import Answer, Trial
from ztsession.demo.service import address_of
from ztsession.server import StreamServer
from ztsession.testing import pair

TRIAL = Trial("maker", bytes(32))


class OnTheWire:
    """Passes calls on, and answers as it likes once it is told to."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.answers: list[bytes] = []
        self.instead: bytes | None = None

    def exchange(self, message: bytes) -> bytes:
        self.answers.append(self._calls.exchange(message))
        return self.answers[-1] if self.instead is None else self.instead


class Granted:
    """A session whose ticket has been presented already."""

    def __init__(self, installed: InstalledSession) -> None:
        self._installed = installed

    def install(self, transport: Transport, segment: str) -> InstalledSession:
        return self._installed


def handler(session: SessionView, body: bytes) -> Answer:
    return Answer(session.sequence, "done", body)


@pytest.fixture
def wired() -> Iterator[tuple[OnTheWire, CallLine]]:
    client, point = pair("lab", ["lab.run"])
    wire = OnTheWire(Calls(point, "lab.run", handler))
    server = StreamServer(("127.0.0.1", 0), lambda source: wire)
    line, session = CallLine(address_of(server.address)), Granted(client)
    line.install(session, "lab")  # type: ignore[arg-type]
    yield wire, line
    line._transport.close()
    server.close()
    point.close()


def test_an_answer_is_verified(wired: tuple[OnTheWire, CallLine]) -> None:
    """Each call has its own."""
    _, line = wired
    for sequence in (1, 2):
        assert line.call("lab.run", TRIAL) == Answer(sequence, "done", TRIAL.to_bytes())


@pytest.mark.parametrize(
    "instead",
    [
        lambda honest: honest[:-1] + bytes([honest[-1] ^ 1]),
        lambda honest: bytes(48) + honest[48:],
        lambda honest: honest[48:],
        lambda honest: b"refused",
        lambda honest: b"",
    ],
)
def test_what_does_not_verify_is_no_answer(wired: tuple[OnTheWire, CallLine], instead: Any) -> None:
    """An altered answer, one without a token, or a refusal tells the caller nothing that it may use."""
    wire, line = wired
    frame = line.signed("lab.run", TRIAL)
    wire.instead = instead(wire._calls.exchange(frame))
    assert line.send(frame) is None


def test_the_answer_to_another_call_is_none(wired: tuple[OnTheWire, CallLine]) -> None:
    """A genuine answer that was held back does not answer the next call."""
    wire, line = wired
    earlier, later = line.signed("lab.run", TRIAL), line.signed("lab.run", TRIAL)
    wire.instead = wire._calls.exchange(earlier)
    assert line.send(later) is None
    wire.instead = None
    assert line.call("lab.run", TRIAL) is not None
