"""docs/protocol.md says enough to write another client from, and its test vector is true."""

from __future__ import annotations

import os
import re

import other_client as other
from message_tables import KEPT, declared, message_of, rows
from pages import ROOT, blocks

from ztsession import limits
from ztsession.bus.change import Change
from ztsession.client.installing import install_ticket
from ztsession.enforcement import EnforcementPoint
from ztsession.hazmat import sha256
from ztsession.policy.catalog import Catalog
from ztsession.posture.eat_claims import LABELS
from ztsession.risk.levels import Mode
from ztsession.testing import FakeClock, TestAuthority
from ztsession.tickets.installation import InstallAnswer, InstallRequest

EPOCH_US = 30_000_000
CATALOG = """
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
"""


class Recorder:
    """A transport that keeps what passed."""

    def __init__(self, point) -> None:
        self._point = point

    def exchange(self, message: bytes) -> bytes:
        """Pass a message on and keep it and its answer."""
        self.request, self.answer = message, self._point.exchange(message)
        return self.answer


def table(*heads: str) -> list[list[str]]:
    """The cells of the page's one table with these heads."""
    page = (ROOT / "docs/protocol.md").read_text()
    [found] = re.findall(rf"^\| {re.escape(' | '.join(heads))} \|\n.*?\n((?:\|.*\n)+)", page, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]


def page_tables() -> dict[str, tuple[int, list[tuple[str, str]]]]:
    """Of each message that the page has a table for: its longest encoding, its fields with their types."""
    page = (ROOT / "docs/protocol.md").read_text()
    found = re.findall(r"^`([a-z0-9.-]+)` \(at most (\d+)\).*?\n\n(\|.*?)\n\n", page, re.M | re.S)
    return {
        kind: (int(size), re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.M)) for kind, size, table in found
    }


def test_another_client_written_from_the_page_is_understood_in_both_directions() -> None:
    """Installation MACs, keys of several epochs and tokens of both directions agree with another client's."""
    clock = FakeClock()
    authority = TestAuthority(Catalog.from_text(CATALOG).segment("orders"), clock=clock.time)
    point = EnforcementPoint("orders", authority=authority, manual_clock=True, wall_clock=clock.time)
    clock.follow(point.table)
    point.maintain()
    grant, session_secret = authority.grant(), os.urandom(32)
    secret = other.segment_secret(session_secret, grant.to_bytes())
    line = Recorder(point)
    install_ticket(line, grant, authority.ticket(grant, secret), secret, manual_clock_us=clock.machine_us)

    request, answer = InstallRequest.from_bytes(line.request), InstallAnswer.from_bytes(line.answer)
    assert request.mac == other.install_request_mac(secret, request.ticket, request.nonce)
    assert answer.mac == other.install_answer_mac(
        secret,
        request.ticket,
        request.nonce,
        answer.nonce,
        answer.handle,
        answer.now_us,
        answer.epoch_length_us,
    )

    first = answer.now_us // EPOCH_US
    verify = point.verifier("orders.cancel")
    for sequence, steps in enumerate((0, 0, 1, 3), start=1):
        while point.table.now_us() // EPOCH_US < first + steps:
            clock.advance(1.0)
            point.maintain()
        key = other.token_key(secret, answer.nonce, 0, answer.handle, steps)
        now = point.table.now_us()
        made = other.token(key, 0, 1, first + steps, answer.handle, sequence, now, b"body")
        view = verify(made, b"body")
        assert (view.sequence, view.issued_at_us, view.epoch) == (sequence, now, first + steps)

    key = other.token_key(secret, answer.nonce, 1, answer.handle, 3)
    reply = point.sign_reply(view, b"done")
    assert reply == other.token(key, 1, 1, first + 3, answer.handle, 1, point.table.now_us(), b"done")


def test_the_vector_of_the_page_is_what_the_page_describes() -> None:
    """The printed vector comes out of the second implementation, number by number."""
    [vector] = [block.text for block in blocks("docs/protocol.md") if "issued_at   " in block.text]
    shown = dict(re.findall(r"^(\w+) += (\w+)$", vector, re.M))
    secret, nonce = bytes.fromhex(shown["segment_secret"]), bytes.fromhex(shown["nonce"])
    handle, epoch = int(shown["handle"], 16), int(shown["epoch"])
    key = other.token_key(secret, nonce, 0, handle, int(shown["steps"]))
    body = bytes.fromhex(shown["body"])
    made = other.token(
        key, 0, int(shown["operation"]), epoch, handle, int(shown["sequence"]), int(shown["issued_at"]), body
    )
    assert (key.hex(), made.hex()) == (shown["token_key"], shown["token"])


def test_every_message_that_travels_is_on_the_page() -> None:
    """The page has a table for each message of the package, but for those that no peer ever sends."""
    assert declared().keys() > KEPT
    assert sorted(page_tables()) == sorted(declared().keys() - KEPT)


def test_every_field_is_on_the_page() -> None:
    """The page's table of each message has exactly its fields, in their order, with their types and sizes."""
    for kind, (max_bytes, shown) in page_tables().items():
        message = message_of(kind)
        assert (kind, shown) == (kind, rows(message))
        assert (kind, max_bytes) == (kind, message.max_bytes)


def test_every_kind_of_change_is_on_the_page() -> None:
    """The table of changes has each kind once, with the fields that it uses."""
    made = [
        Change.set_mode(bytes(16), Mode.SUSPENDED, number=1),
        Change.revoke(bytes(16), number=1),
        Change.retire(bytes(16), number=1),
        Change.narrow(bytes(32), [1, 1, 1], number=1),
        Change.tighten(bytes(32), [1, 1, 1], 1, session=bytes(16), number=1),
        Change.signing_key(bytes(32), number=1),
        Change.retire_key(bytes(32), number=1),
        Change.heartbeat(number=1),
    ]
    used = {
        change.what: [
            name
            for name in ("session", "mode", "profile", "allowed", "step_up", "key")
            if getattr(change, name) not in (b"", 0, [0, 0, 0])
        ]
        for change in made
    }
    shown = table("what", "uses", "effect")
    assert {what.strip("`"): re.findall(r"`(\w+)`", names) for what, names, _ in shown} == used
    words = next(text for name, text in rows(Change) if name == "what")
    assert re.findall(r"`([a-z-]+)`", words) == list(used)


def test_every_claim_of_an_eat_is_on_the_page() -> None:
    """The table of claims has each claim that is read, with the label that it has in a CWT."""
    shown: dict[str, int] = {}
    for names, labels, _ in table("claim", "label", "read as"):
        claims = re.findall(r"`(\w+)`", names)
        shown |= dict(zip(claims, map(int, labels.split(", ")), strict=True))
    assert shown == dict(LABELS)


def test_every_number_of_the_page_is_the_cores() -> None:
    """The page's table of limits repeats the values that the core was compiled with."""
    page = (ROOT / "docs/protocol.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([0-9,]+) \|", page, re.M)
    assert len(rows) >= 8
    for name, value in rows:
        assert getattr(limits, name) == int(value.replace(",", "")), name


def test_labelled_digest_agrees() -> None:
    """The labelled digest of the page is the library's, on the library's own SHA-256."""
    from ztsession.wire.digest import digest

    assert other.labelled_digest("x", b"", b"ab") == digest("x", b"", b"ab")
    assert sha256(b"") == bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
