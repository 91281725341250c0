"""The decorator: a handler runs after its call was verified, and is otherwise called as if nothing were
in between.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from worlds import OPERATIONS, STATUS, SUBMIT, Session, World, flipped, refused_by

from ztsession import errors
from ztsession._calls import Protected, SessionView, Verifier

NAME = OPERATIONS[SUBMIT]


def protect(world: World) -> Callable[[Callable[..., Any]], Any]:
    return lambda handler: Protected(world.point, NAME, handler)


def test_a_handler_gets_view_body_and_the_rest(world: World, session: Session) -> None:
    """Positional, keyword and default arguments arrive as they were given, and the result comes back."""

    @protect(world)
    def submit(
        view: SessionView, body: bytes, x: int = 1, *rest: int, y: int = 2, **more: int
    ) -> tuple[Any, ...]:
        return view.sequence, body, x, rest, y, more

    sign = session.sign
    assert submit(sign(), b"body") == (1, b"body", 1, (), 2, {})
    assert submit(sign(), b"body", 5, 6, 7, y=8, z=9) == (2, b"body", 5, (6, 7), 8, {"z": 9})
    assert submit(sign(), b"body", y=3) == (3, b"body", 1, (), 3, {})
    assert submit(*(sign(), b"body", 4), **{"y": 5}) == (4, b"body", 4, (), 5, {})


@pytest.mark.parametrize("positional", [0, 5, 13, 14, 15, 16, 40])
@pytest.mark.parametrize("named", [0, 1, 2, 30])
def test_any_number_of_arguments(world: World, session: Session, positional: int, named: int) -> None:
    """Few arguments or very many, they arrive in order."""
    handler = protect(world)(lambda view, body, *args, **kwargs: (view.handle, args, kwargs))
    args, kwargs = tuple(range(positional)), {f"k{i}": i for i in range(named)}
    assert handler(session.sign(), b"body", *args, **kwargs) == (session.handle, args, kwargs)


def test_a_refused_call_does_not_run_the_handler(world: World, session: Session) -> None:
    """The handler of a refused call is never entered, with few arguments or with many."""
    ran: list[object] = []
    handler = protect(world)(lambda *args, **kwargs: ran.append(args))
    token = session.sign()
    for extra in ((), tuple(range(30))):
        refused_by(
            lambda extra=extra: handler(flipped(token, 300), b"body", *extra),  # type: ignore[misc]
            errors.BadTag,
            world.point,
            world.sessions,
        )
    refused_by(
        lambda: handler(session.sign(operation=STATUS), b"body"),
        errors.WrongOperation,
        world.point,
        world.sessions,
        session,
    )
    assert ran == []
    handler(token, b"body")
    assert len(ran) == 1


def test_exceptions_of_the_handler_pass_through(world: World, session: Session) -> None:
    """What the handler raises is what the caller sees, and the call stays used."""

    class TroubleError(Exception):
        pass

    @protect(world)
    def handler(view: SessionView, body: bytes) -> None:
        raise TroubleError(body)

    token = session.sign()
    with pytest.raises(TroubleError, match="body"):
        handler(token, b"body")
    with pytest.raises(errors.Replayed):
        handler(token, b"body")


def test_missing_arguments(world: World, session: Session) -> None:
    """Without token and body, or with them by keyword, there is no call."""
    handler = protect(world)(lambda view, body: None)
    for call in (lambda: handler(), lambda: handler(session.sign()), lambda: handler(token=b"", body=b"")):
        with pytest.raises(TypeError, match="token and a body first"):
            call()
    assert not any(world.point.refused().values())


@pytest.mark.parametrize("extra", [(), tuple(range(30))])
def test_a_changing_body_arrives_as_it_was_verified(
    world: World, session: Session, extra: tuple[int, ...]
) -> None:
    """A body that is not bytes reaches the handler as a private copy, exactly what the tag covered."""
    body = bytearray(b"buy 100")
    seen = []

    @protect(world)
    def handler(view: SessionView, given: bytes, *rest: int) -> None:
        body[:] = b"buy 999"
        seen.append((type(given), given))

    handler(session.sign(bytes(body)), body, *extra)
    assert seen == [(bytes, b"buy 100")]


def test_bytes_are_not_copied(world: World, session: Session) -> None:
    """A body of bytes is handed on as the same object."""
    body = b"some body of bytes"
    assert protect(world)(lambda view, given: given)(session.sign(body), body) is body


def test_methods(world: World, session: Session) -> None:
    """On a class the instance comes first, then view and body; class and static methods work, too."""

    class Service:
        name = "service"

        @protect(world)
        def submit(self, view: SessionView, body: bytes, x: int = 0) -> tuple[str, int, int]:
            return self.name, view.sequence, x

        @classmethod
        @protect(world)
        def of_class(cls, view: SessionView, body: bytes) -> tuple[str, int]:
            return cls.name, view.sequence

    service = Service()
    assert service.submit(session.sign(), b"body", 7) == ("service", 1, 7)
    assert Service.submit.__wrapped__.__qualname__.endswith("Service.submit")
    bound = service.submit
    assert bound(session.sign(), b"body") == ("service", 2, 0)
    with pytest.raises(errors.BadTag):
        bound(session.sign(), b"other")
    handler = Protected(world.point, NAME, service.submit.__wrapped__)
    assert handler(session.sign(), b"body")[0] == "service"


def test_callables_that_are_no_functions(world: World, session: Session) -> None:
    """Partials, builtins and callable objects can be protected, also as a class's attribute."""

    class Handler:
        def __call__(self, view: SessionView, body: bytes) -> bytes:
            return body

    class Service:
        call = protect(world)(Handler())
        part = protect(world)(functools.partial(lambda x, view, body: (x, body), 3))

    assert Service().call(session.sign(), b"body") == b"body"
    assert Service().part(session.sign(), b"body") == (3, b"body")
    assert protect(world)(max)(session.sign(), b"body", key=lambda x: isinstance(x, bytes)) == b"body"
    with pytest.raises(TypeError, match="decorates a function"):
        protect(world)(5)  # type: ignore[arg-type]


def test_async_handlers(world: World, session: Session) -> None:
    """An async handler is verified at the call, before there is a coroutine, and then runs as one."""
    steps = []

    @protect(world)
    async def submit(view: SessionView, body: bytes, x: int = 0) -> int:
        steps.append("running")
        await asyncio.sleep(0)
        return view.sequence + x

    assert inspect.iscoroutinefunction(submit) or asyncio.iscoroutinefunction(submit)
    with pytest.raises(errors.BadTag):
        submit(session.sign(), b"other")
    token = session.sign()
    coroutine = submit(token, b"body", x=10)
    assert steps == []
    with pytest.raises(errors.Replayed):
        submit(token, b"body")
    assert asyncio.run(coroutine) == 12


def test_it_looks_like_its_handler(world: World) -> None:
    """Name, docstring, signature source and attributes are the handler's; the operation is told."""

    def submit(view: SessionView, body: bytes) -> None:
        """Submits."""

    submit.tag = "x"  # type: ignore[attr-defined]
    handler = protect(world)(submit)
    assert (handler.__name__, handler.__doc__, handler.tag) == ("submit", "Submits.", "x")
    assert handler.__wrapped__ is submit
    assert handler.operation == NAME
    assert list(inspect.signature(handler).parameters) == ["view", "body"]
    assert NAME in repr(handler)


def test_no_reference_is_lost_or_kept(world: World, session: Session) -> None:
    """Over accepted, refused and raising calls of each shape, every object ends with the references it
    began with.
    """
    marker, body, array_body = object(), b"a body of its own" * 3, bytearray(b"changing")

    def handler(view: SessionView, given: bytes, *args: object, **kwargs: object) -> object:
        if kwargs.get("raises"):
            raise ValueError
        return marker

    protected, verify, sign = protect(world)(handler), Verifier(world.point, NAME), session.signer()

    def attempt(call: Callable[[], object]) -> None:
        try:
            call()
        except (errors.Denied, ValueError, TypeError):
            return

    def everything() -> None:
        token = sign(body)
        verify(token, body)
        attempt(lambda: verify(token, body))
        attempt(lambda: verify(marker, body))  # type: ignore[arg-type]
        attempt(lambda: verify(token, marker))  # type: ignore[arg-type]
        attempt(lambda: sign(marker))  # type: ignore[arg-type]
        for extra in ((), (marker,) * 3, (marker,) * 40):
            for raises in (False, True):
                protected(sign(body), body, *extra, x=marker) if not raises else attempt(
                    lambda extra=extra: protected(sign(body), body, *extra, x=marker, raises=True)
                )
                attempt(lambda extra=extra: protected(sign(body), array_body, *extra))
            protected(sign(bytes(array_body)), array_body, *extra)
            attempt(lambda extra=extra: protected(marker, body, *extra))
            attempt(lambda extra=extra: protected(sign(body), marker, *extra))

    watched = (
        marker,
        body,
        array_body,
        handler,
        protected,
        verify,
        sign,
        world.point,
        session.client,
        session.record,
        NAME,
    )
    for _ in range(20):
        everything()
    gc.collect()
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(300):
        everything()
    gc.collect()
    grown = [
        now - then for now, then in zip([sys.getrefcount(each) for each in watched], before, strict=True)
    ]
    assert all(abs(each) <= 2 for each in grown), grown


def test_a_protected_handler_in_a_cycle_is_collected(world: World) -> None:
    """A handler that holds its own protection is freed with it."""

    class Service:
        def __init__(self) -> None:
            self.handler = protect(world)(lambda view, body: self)

    watched = weakref.ref(Service())
    gc.collect()
    assert watched() is None
