"""Security events that are fetched (RFC 8936): a thread that asks one stream again and again.

Every question tells what became of the events before: those that are in force are acknowledged, those that
will never be taken are named with the word for why, and the rest is not spoken of, so that it comes again.
Killed between the two, this comes to know them as repeats.

A stream that cannot be asked is asked less and less often, up to once a minute, and never not at all: what
it knows of an attack is needed most after it was silent.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from typing import Any, Final

from ztsession.errors import ConfigurationError, EventRefused, TransportError
from ztsession.identity.jwks_fetch import is_fetchable
from ztsession.integrations.ssf_http import Peer, members
from ztsession.integrations.ssf_push import TOLD
from ztsession.risk.ssf.receiver import SignalReceiver
from ztsession.risk.ssf.sets import JTI_MAX_BYTES, SET_MAX_BYTES

__all__ = ["EventPoller"]

EVENTS_MAX: Final = 100
#: A transmitter that has nothing to say may keep a question for so long.
LONG_POLL_S: Final = 60.0
AGAIN_FIRST_S: Final = 1.0
AGAIN_LAST_S: Final = 60.0
_LAST_QUESTION_S: Final = 2.0
_AROUND_EACH_BYTES: Final = 2 * JTI_MAX_BYTES

_log = logging.getLogger("ztsession.ssf")


class EventPoller:
    """Polls the stream of one transmitter on a thread of its own, until :meth:`close`."""

    def __init__(
        self,
        receiver: SignalReceiver,
        name: str,
        url: str,
        peer: Peer,
        *,
        events_max: int = EVENTS_MAX,
        every_s: float = 0.0,
    ) -> None:
        """``name``: of the transmitter in ``ssf.toml``; ``url``: the stream's ``endpoint_url``; at most
        ``events_max`` events for each question. ``every_s``: seconds between two questions that are answered
        at once; 0 lets the transmitter keep a question until it has something to say.
        """
        if not is_fetchable(url):
            raise ConfigurationError("url: expected https://..., or http://127.0.0.1... on this machine")
        if not 1 <= events_max <= EVENTS_MAX or every_s < 0:
            raise ConfigurationError(f"expected 1 to {EVENTS_MAX} events, and seconds of 0 and more")
        self._receiver, self._name, self._url, self._peer = receiver, name, url, peer
        self._events_max, self._every_s = events_max, every_s
        self._taken = list[str]()
        self._refused = dict[str, str]()
        #: The names in the last answer.
        self._told = frozenset[str]()
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name=f"ztsession-poll-{name}", daemon=True)
        self._thread.start()

    @property
    def failures(self) -> int:
        """How many questions in a row were not answered, or left something that has to come again."""
        return self._failures

    def close(self) -> None:
        """Ask no more; what was taken is acknowledged, if that is heard within two seconds."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    # ---- In its thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._poll())

    async def _poll(self) -> None:
        while not self._stop.is_set():
            pause_s = await self._until_stopped(self._round())
            if pause_s:
                await self._until_stopped(asyncio.sleep(pause_s))
        await self._tell()

    async def _until_stopped(self, what: Any) -> float:
        """What a coroutine returns; 0 if it was cancelled, because this is to end."""
        task, stop = asyncio.ensure_future(what), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            return (task.result() if task.done() else 0.0) or 0.0
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _round(self) -> float:
        """One question, and what its answer says put in force; how long to wait for the next, in seconds."""
        asked_at = time.monotonic()
        try:
            sets, more = await self._ask(self._events_max, LONG_POLL_S if not self._every_s else 0.0)
        except Exception as error:
            _log.warning("the stream of %s could not be asked: %s", self._name, error)
            return self._again()
        taken = [self._take(jti, text) for jti, text in sets.items()]
        if not all(taken):
            return self._again()
        self._failures = 0
        told, self._told = self._told, frozenset(sets)
        if not told.issuperset(sets) and (more or not self._every_s):
            return 0.0
        # Whoever does not keep the question, or tells what it was told is done, is not asked without end.
        pause_s = self._every_s or AGAIN_FIRST_S
        return max(0.0, pause_s - (time.monotonic() - asked_at))

    def _again(self) -> float:
        self._failures += 1
        bound_s = min(AGAIN_LAST_S, AGAIN_FIRST_S * float(1 << min(self._failures - 1, 16)))
        # Apart from each other: what failed for all of them must not be asked by all at once.
        return bound_s * (0.5 + secrets.randbelow(500) / 1000)

    def _take(self, jti: str, text: str) -> bool:
        """False when it has to come again."""
        try:
            self._receiver.receive(self._name, text.encode("utf-8", "surrogatepass"))
        except EventRefused as error:
            self._refused[jti] = error.err
        except Exception as error:
            _log.warning("a SET of %s has to come again: %s", self._name, error)
            return False
        else:
            self._taken.append(jti)
        return True

    async def _ask(self, events_max: int, wait_s: float) -> tuple[dict[str, str], bool]:
        taken, refused = list(self._taken), dict(self._refused)
        question: dict[str, Any] = {"maxEvents": events_max, "returnImmediately": wait_s == 0}
        if taken:
            question["ack"] = taken
        if refused:
            question["setErrs"] = {j: {"err": err, "description": TOLD[err]} for j, err in refused.items()}
        answer = await self._peer.ask_async(
            "POST",
            self._url,
            question,
            timeout_s=wait_s + 10.0,
            max_bytes=(events_max + 1) * (SET_MAX_BYTES + _AROUND_EACH_BYTES),
        )
        # It was heard: nothing has to be said twice.
        self._taken = self._taken[len(taken) :]
        self._refused = {jti: err for jti, err in self._refused.items() if jti not in refused}
        return _read(answer)

    async def _tell(self) -> None:
        if not self._taken and not self._refused:
            return
        try:
            async with asyncio.timeout(_LAST_QUESTION_S):
                await self._ask(0, 0.0)
        except Exception as error:
            # What comes again is known.
            _log.info("the last events of %s were not acknowledged: %s", self._name, error)


def _read(answer: bytes) -> tuple[dict[str, str], bool]:
    found = members(answer, "the answer to a poll")
    sets, more = found.get("sets", {}), found.get("moreAvailable", False)
    if type(sets) is not dict or type(more) is not bool:
        raise TransportError("the answer to a poll has no sets, or does not say whether there are more")
    if any(type(text) is not str or len(jti) > JTI_MAX_BYTES for jti, text in sets.items()):
        raise TransportError("the answer to a poll has a SET that is no text, or an endless jti")
    return sets, more
