"""Single calls: which buffers they take, what they say of wrong arguments, and what a view tells."""

from __future__ import annotations

import array
import os
from collections.abc import Callable
from typing import Any

import pytest
from worlds import OPERATIONS, STATUS, SUBMIT, Session, World, flipped

from ztsession import errors
from ztsession._calls import Protected, SessionView, Signer, Verifier
from ztsession._core import Table

NAME = OPERATIONS[SUBMIT]


# ---- Buffers and arguments


BUFFERS = [
    bytearray,
    memoryview,
    lambda b: memoryview(bytearray(b)),
    lambda b: array.array("B", b),
    lambda b: memoryview(bytes(x for byte in b for x in (byte, 7)))[::2],
    lambda b: memoryview(b[::-1])[::-1],
    lambda b: type("Sub", (bytes,), {})(b),
]


@pytest.mark.parametrize("make", BUFFERS)
def test_single_calls_take_any_buffer(world: World, session: Session, make: Callable[[bytes], Any]) -> None:
    """Token and body may be any buffer of bytes, contiguous or not."""
    body = os.urandom(70)
    token = session.signer()(make(body))
    world.passes(session, make(token), make(body))
    world.refuses(errors.Replayed, make(token), make(body), charged=session)
    world.refuses(errors.BadTag, make(flipped(token, 290)), make(body))


@pytest.mark.parametrize("wrong", [None, 5, "text", 1.5, [1, 2], object()])
def test_single_calls_name_what_is_no_buffer(world: World, session: Session, wrong: object) -> None:
    """What is no buffer is a TypeError that says which argument and what it was, and is no call."""
    before = world.point.refused()
    with pytest.raises(TypeError, match=f"body must be bytes or a buffer, not {type(wrong).__name__}"):
        session.signer()(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="body must be bytes or a buffer"):
        world.verify(session.sign(), wrong)
    with pytest.raises(TypeError, match="token must be bytes or a buffer"):
        world.verify(wrong, b"body")
    assert world.point.refused() == before


def test_wrong_numbers_of_arguments(world: World, session: Session) -> None:
    """Missing, surplus and keyword arguments of the bare calls are TypeErrors that count them."""
    verify, sign = Verifier(world.point, NAME), session.signer()
    for call, given_count in (
        (lambda: verify(b""), 1),  # type: ignore[call-arg]
        (lambda: verify(), 0),  # type: ignore[call-arg]
        (lambda: verify(b"", b"", b""), 3),  # type: ignore[call-arg]
        (lambda: sign(), 0),  # type: ignore[call-arg]
        (lambda: sign(b"", b""), 2),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=rf"\({given_count} given\)"):
            call()
    for call in (lambda: verify(token=b"", body=b""), lambda: sign(body=b"")):  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="no keyword arguments"):
            call()


@pytest.mark.parametrize("name", ["", "orders.nothing", "orders.submit "])
def test_unknown_operations_are_named(session: Session, name: str) -> None:
    """Binding an operation that the table does not have lists those it has."""
    for bind in (
        lambda: Verifier(session.point, name),
        lambda: Signer(session.client, session.handle, name),
        lambda: Protected(session.point, name, print),
    ):
        with pytest.raises(ValueError, match=r"no operation of this table.*orders\.submit"):
            bind()


# ---- Views


def test_a_view_tells_of_its_call(world: World, session: Session) -> None:
    """A view has the call's own facts and the installation's record."""
    world.verify(session.sign(), b"body")
    view = world.passes(session, session.sign(operation=STATUS), operation=None)
    assert (view.handle, view.sequence, view.operation) == (session.handle, 2, OPERATIONS[STATUS])
    assert (view.issued_at_us, view.epoch, view.mode) == (world.now_us, world.epoch, "NORMAL")
    assert (view.subject, view.device, view.session) == (
        session.record.subject,
        session.record.device,
        session.record.session,
    )
    assert OPERATIONS[STATUS] in repr(view)


def test_a_view_outlives_its_session(world: World, session: Session) -> None:
    """After the session's end the call's facts stay, and who it was is no longer told."""
    view = world.passes(session, session.sign())
    session.end()
    assert (view.handle, view.sequence, view.mode, view.operation) == (session.handle, 1, "NORMAL", NAME)
    for attribute in ("record", "subject", "device", "session"):
        with pytest.raises(errors.SessionEnded, match="ended after this call"):
            getattr(view, attribute)


def test_a_view_keeps_its_table(backend: str) -> None:
    """A view is whole when nothing else holds the table any more."""
    world = World(backend)
    session = world.install()
    view = world.passes(session, session.sign())
    subject = session.record.subject
    del world, session
    assert view.subject == subject


def test_a_view_cannot_be_made_or_changed(world: World, session: Session) -> None:
    """Views come from calls alone and are read only; one made around the constructor tells nothing."""
    view = world.passes(session, session.sign())
    with pytest.raises(TypeError, match="comes from verifying"):
        SessionView()
    with pytest.raises(AttributeError):
        view.sequence = 5  # type: ignore[misc]
    empty = SessionView.__new__(SessionView)
    for attribute in ("operation", "record", "subject"):
        with pytest.raises(errors.SessionEnded, match="comes from verifying"):
            getattr(empty, attribute)
    with pytest.raises(TypeError):
        type("Sub", (SessionView,), {})


def test_tables_are_freed() -> None:
    """Tables made and dropped give their memory back, installed or not."""
    for _ in range(2_000):
        Table(operations=OPERATIONS, capacity=64)
