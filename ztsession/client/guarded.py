"""One call, sent until it passes, cannot pass, or may not be sent again. Sans-I/O.

There is one sequence of steps for programs with threads and for those with an event loop: a generator that
says what to do next and is told how it went. Every sending has a token of its own, made after whatever was
put right.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ztsession.client.keeper import KeptSigner, SessionKeeper
from ztsession.client.remedies import Remedies
from ztsession.errors import Denied, OutcomeUnknown, SessionEnded, ZtsError

__all__ = ["Call", "Guarded", "GuardedAsync"]

#: How often one call is sent at most, whatever is answered.
SENDS_MAX: Final = 8
_PAUSE_MIN_S: Final = 0.05

_T = TypeVar("_T")


class Guarded(Generic[_T]):
    """One operation's call ``(body) -> reply``, see :meth:`ReauthPolicy.guard`. Thread-safe."""

    def __init__(self, call: Call, send: Callable[[bytes, bytes], _T]) -> None:
        self._call, self._send = call, send

    def __call__(self, body: bytes) -> _T:
        """Send one call; raises the refusal that nothing helped against, OutcomeUnknown when it may have been
        executed, and whatever else ``send`` raises.
        """
        way = _Way(self._call.steps(body))
        step = way.on()
        while step is not None:
            try:
                came = step.run(self._send)
            except Exception as error:
                step = way.on(failed=error)
            else:
                step = way.on(came)
        reply: _T = way.reply
        return reply


class GuardedAsync(Generic[_T]):
    """The same in an event loop, see :meth:`ReauthPolicy.guard_async`."""

    def __init__(self, call: Call, send: Callable[[bytes, bytes], Awaitable[_T]]) -> None:
        self._call, self._send = call, send

    async def __call__(self, body: bytes) -> _T:
        """Send one call; raises as :meth:`Guarded.__call__`. A cancelled call is not sent again."""
        way = _Way(self._call.steps(body))
        step = way.on()
        while step is not None:
            try:
                came = await step.run_async(self._send)
            except Exception as error:
                step = way.on(failed=error)
            else:
                step = way.on(came)
        reply: _T = way.reply
        return reply


@dataclass(frozen=True)
class Call:
    """What is fixed of an operation's calls. ``keeper`` lives as long as they do; ``ladders``: remedies in
    order, by what helps.
    """

    keeper: SessionKeeper
    remedies: Remedies
    sign: KeptSigner
    point: str
    ladders: Mapping[str, Sequence[str]]
    safe_to_repeat: bool
    authentic: bool
    wait_s: float

    def steps(self, body: bytes) -> _Steps:
        """Send one call; returns the reply."""
        so_far = _SoFar()
        for number in range(1, SENDS_MAX + 1):
            since = self.remedies.count
            try:
                token = self.sign(body)
            except SessionEnded as ended:
                yield from self._put_right(ended, so_far, since)
                continue
            try:
                reply = yield _Send(token, body)
            except Denied as refusal:
                again = number < SENDS_MAX and (self.safe_to_repeat or self.authentic)
                if not again:
                    # What an earlier call has tried, and no call has passed by since, is not tried again.
                    so_far.tried = list(self.remedies.unproven)
                if again or refusal.helps != "wait":
                    yield from self._put_right(refusal, so_far, since)
                if not again:
                    raise
            except OSError as lost:
                if not self.safe_to_repeat:
                    raise OutcomeUnknown(
                        "the answer was lost: the call may have been executed, so it was not sent again"
                    ) from lost
                if not so_far.may_wait(self.wait_s) or number == SENDS_MAX:
                    raise
                yield so_far.pause()
            else:
                if so_far.tried or self.remedies.unproven:
                    self.remedies.helped()
                return reply
        raise SessionEnded("nothing could be signed, though the session was put right again and again")

    def _put_right(self, refusal: ZtsError, so_far: _SoFar, since: int) -> _Steps:
        """Do what helps, or raise the refusal."""
        if refusal.helps == "wait" and so_far.may_wait(self.wait_s):
            yield so_far.pause()
            return
        rungs = [rung for rung in self.ladders.get(refusal.helps, ()) if rung not in so_far.tried]
        if not rungs:
            if so_far.tried and refusal.helps in self.ladders:
                self.remedies.did_not_help(refusal, since)
            raise refusal
        try:
            so_far.tried += yield _Do(partial(self.remedies.help, refusal, rungs, self.point, since))
        except ZtsError as failure:
            raise refusal from failure


@dataclass
class _SoFar:
    """What one call has cost until now."""

    tried: list[str] = field(default_factory=list)
    waited_s: float = 0.0
    _pause_s: float = _PAUSE_MIN_S

    def may_wait(self, wait_s: float) -> bool:
        return self.waited_s < wait_s

    def pause(self) -> _Pause:
        pause = _Pause(self._pause_s)
        self.waited_s, self._pause_s = self.waited_s + self._pause_s, 2 * self._pause_s
        return pause


@dataclass(frozen=True, slots=True)
class _Send:
    token: bytes
    body: bytes

    def run(self, send: Callable[[bytes, bytes], Any]) -> Any:
        return send(self.token, self.body)

    async def run_async(self, send: Callable[[bytes, bytes], Awaitable[Any]]) -> Any:
        return await send(self.token, self.body)


@dataclass(frozen=True, slots=True)
class _Do:
    act: Callable[[], Sequence[str]]

    def run(self, _: object) -> Sequence[str]:
        return self.act()

    async def run_async(self, _: object) -> Sequence[str]:
        import asyncio

        # It goes on should this task be cancelled: other calls wait for what comes of it.
        return await asyncio.to_thread(self.act)


@dataclass(frozen=True, slots=True)
class _Pause:
    pause_s: float

    def run(self, _: object) -> None:
        time.sleep(self.pause_s)

    async def run_async(self, _: object) -> None:
        import asyncio

        await asyncio.sleep(self.pause_s)


_Step = _Send | _Do | _Pause
_Steps = Generator[_Step, Any, Any]


class _Way:
    """The steps of one call, and in the end its reply."""

    def __init__(self, steps: _Steps) -> None:
        self._steps = steps
        self.reply: Any = None

    def on(self, came: Any = None, *, failed: Exception | None = None) -> _Step | None:
        """Tell how the last step went; the next one, None when there is the reply."""
        try:
            return self._steps.send(came) if failed is None else self._steps.throw(failed)
        except StopIteration as over:
            self.reply = over.value
            return None
