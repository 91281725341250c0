"""A person at a terminal is asked for a one-time code, and for nothing else, and not for ever."""

from __future__ import annotations

import logging
import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.client import ReauthPolicy, SessionKeeper
from ztsession.client.prompt import CodePrompt
from ztsession.errors import HandshakeError, StepUpRequired
from ztsession.mfa.prover import TotpProver

pyotp = pytest.importorskip("pyotp", reason="one-time codes need pyotp: install ztsession[authority]")

CATALOG = """
version = 1

[segments.orders.operations.submit]
effect = "risk-increasing"
assurance = 2

[segments.orders.operations.cancel]
effect = "risk-reducing"
"""


class Terminal:
    """A pseudo-terminal with a person at it, who answers each question with the next of ``lines``."""

    def __init__(self) -> None:
        self._person, self._program = os.openpty()
        self.path, self.shown, self.lines = os.ttyname(self._program), b"", list[Callable[[], str] | str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sit)
        self._thread.start()

    def _sit(self) -> None:
        seen = 0
        while not self._stop.is_set():
            if select.select([self._person], [], [], 0.01)[0]:
                self.shown += os.read(self._person, 4096)
            if self.lines and b"code: " in self.shown[seen:]:
                seen = len(self.shown)
                line = self.lines.pop(0)
                os.write(self._person, (line if isinstance(line, str) else line()).encode() + b"\n")

    @property
    def questions(self) -> int:
        return self.shown.count(b"One-time code: ")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._person)
        os.close(self._program)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


class Trader:
    """A person with a key and an authenticator app, kept at a point, and what was executed there."""

    def __init__(self, house: Any) -> None:
        (house.rules / "catalog.toml").write_text(CATALOG)
        (house.rules / "trading.cedar").write_text(
            'permit (principal, action in Action::"orders.*", resource);'
        )
        identity = zts.Ed25519Identity.generate("trader-1")
        (house.rules / "subjects.toml").write_text(identity.registry_entry("human", desk="rates"))
        self.authority = house.authority()
        factors = self.authority.enrolment.factors
        self.app = pyotp.parse_uri(factors.enrol_totp("trader-1").uri)
        factors.confirm_totp("trader-1", self.app.at(int(time.time()) - 30))
        self.point = house.point(self.authority)
        self.executed = list[bytes]()
        self.asked_by_the_way = 0
        session = house.connect(
            self.authority, identity=identity, scopes=["orders.*"], mfa=TotpProver(self._by_the_way)
        )
        self.keeper = house.keep(SessionKeeper(session, {"orders": lambda: self.point}))

        @self.point.protect("orders.submit")
        def submit(session: zts.SessionView, body: bytes) -> None:
            self.executed.append(body)

        self.submit = submit

    def code(self) -> str:
        return str(self.app.now())

    def _by_the_way(self) -> str:
        self.asked_by_the_way += 1
        return self.code()

    def wrong(self) -> str:
        now = int(time.time())
        right = {self.app.at(now + 30 * step) for step in range(-2, 4)}
        return next(text for text in (f"{n:06}" for n in range(10)) if text not in right)


@pytest.fixture
def trader(house: Any) -> Trader:
    return Trader(house)


def guarded(trader: Trader, terminal: str, **options: Any) -> Callable[[bytes], None]:
    policy = ReauthPolicy.prompting(terminal=terminal, pause_s=0.01, **options)
    return policy.guard(trader.keeper, "orders.submit", trader.submit, authentic=True)


def test_a_person_types_a_code_and_the_order_passes_once(
    trader: Trader, terminal: Terminal, caplog: pytest.LogCaptureFixture
):
    """The step-up asks at the terminal; the code is neither shown nor logged."""
    caplog.set_level(logging.DEBUG)
    typed = trader.code()
    terminal.lines += [f" {typed[:3]} {typed[3:]} "]
    guarded(trader, terminal.path)(b"order")
    assert trader.executed == [b"order"]
    assert trader.keeper.session.assurance == 2
    assert terminal.questions == 1
    for said in (terminal.shown.decode(), caplog.text):
        assert typed not in said
        assert typed[:3] + " " + typed[3:] not in said


def test_wrong_codes_are_asked_for_again_within_a_limit(trader: Trader, terminal: Terminal):
    """A slip of the finger is forgiven, what is no code is not sent, and three tries are the end."""
    terminal.lines += ["12345x", trader.wrong, trader.code]
    guarded(trader, terminal.path)(b"order")
    assert terminal.questions == 3
    assert b"A one-time code has 6 or 8 digits." in terminal.shown
    assert trader.executed == [b"order"]


def test_after_the_last_try_the_refusal_is_raised(trader: Trader, terminal: Terminal):
    """Nobody is asked a fourth time, and the session is the same."""
    old = trader.keeper.session.id
    terminal.lines += ["x", "y", "z", trader.code]
    with pytest.raises(StepUpRequired) as caught:
        guarded(trader, terminal.path)(b"order")
    assert isinstance(caught.value.__cause__, StepUpRequired | HandshakeError)
    assert terminal.questions == 3
    assert trader.executed == []
    assert trader.keeper.session.id == old


def test_who_declines_is_refused(trader: Trader, terminal: Terminal):
    """An empty line is an answer too."""
    terminal.lines += [""]
    with pytest.raises(StepUpRequired):
        guarded(trader, terminal.path)(b"order")
    assert terminal.questions == 1
    assert trader.executed == []


def test_who_declines_is_not_asked_in_another_way(trader: Trader):
    """What was given at connect is not used in the place of what a callback declined to give."""
    policy = ReauthPolicy(lambda refusal, session: None)
    submit = policy.guard(trader.keeper, "orders.submit", trader.submit, authentic=True)
    with pytest.raises(StepUpRequired) as caught:
        submit(b"order")
    assert "declined" in str(caught.value.__cause__)
    assert trader.asked_by_the_way == 0
    ReauthPolicy.automatic().guard(trader.keeper, "orders.submit", trader.submit, authentic=True)(b"order")
    assert (trader.executed, trader.asked_by_the_way) == ([b"order"], 1)


def test_an_empty_chair_is_not_waited_for(trader: Trader, terminal: Terminal):
    """After the time is up the call gets its refusal."""
    before = time.monotonic()
    with pytest.raises(StepUpRequired):
        guarded(trader, terminal.path, timeout_s=0.2)(b"order")
    assert time.monotonic() - before >= 0.2
    assert trader.executed == []


def test_eight_threads_ask_one_person_once(trader: Trader, terminal: Terminal):
    """Whoever is refused meanwhile waits for the code that is being typed."""
    terminal.lines += [trader.code]
    submit, start = guarded(trader, terminal.path), threading.Barrier(8)

    def order(number: int) -> None:
        start.wait()
        submit(b"%d" % number)

    threads = [threading.Thread(target=order, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(trader.executed) == [b"%d" % number for number in range(8)]
    assert terminal.questions == 1


def test_what_was_typed_before_the_question_is_no_answer(terminal: Terminal):
    """Keys that were meant for something else do not become a code."""
    os.write(terminal._person, b"111111\n")
    assert select.select([terminal._program], [], [], 20)[0]
    terminal.lines += ["222222"]
    assert CodePrompt(terminal=terminal.path)() == "222222"


def test_the_terminal_shows_again_what_is_typed(terminal: Terminal):
    """Its settings are put back, also when the question is interrupted."""
    import termios

    before = termios.tcgetattr(terminal._program)

    class Interrupted(CodePrompt):
        def _line(self, handle: int) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Interrupted(terminal=terminal.path)()
    assert termios.tcgetattr(terminal._program) == before


def test_without_a_terminal_nobody_is_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The log says so, and the prompt declines."""
    assert CodePrompt(terminal=str(tmp_path / "none"))() == ""
    assert re.search("nobody can be asked .*No such file", caplog.text)
