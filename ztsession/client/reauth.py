"""Calls that get over a refusal by themselves: prove more, and send again what may be sent again.

    policy = ReauthPolicy.automatic(posture=device)
    cancel = policy.guard(keeper, "orders.cancel", send, safe_to_repeat=True)
    reply = cancel(body)

The danger is the order that is executed twice. What an enforcement point refuses was not executed, and did
not even use up its sequence number; so a refusal seems a licence to send again. But a refusal carries no
token: whoever sits in the connection can have the order executed and answer "refused" in the service's place.
So a call that is not safe to repeat is sent again only if the program says that its refusals are authentic,
because the call does not leave the process or goes through TLS to the service. And one whose answer was lost
may have been executed: it is sent again only if it is safe to repeat, and raises OutcomeUnknown otherwise.

Whether a call is safe to repeat nobody can tell but the program: cancelling by an order's number is,
reducing a position by so many lots is not, although both reduce risk.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from ztsession.client.guarded import Call, Guarded, GuardedAsync
from ztsession.client.keeper import SessionKeeper
from ztsession.client.remedies import Ask, Remedies
from ztsession.errors import ConfigurationError
from ztsession.posture.protocol import PostureProver

__all__ = ["ReauthPolicy"]

#: Between two remedies; doubled up to the last as long as they do not help.
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
#: For how long one call waits in all for a point that has not heard from its Authority.
WAIT_S: Final = 2.0

#: What to do against a refusal, by what helps: the first that succeeds, and the next if it did not help.
LADDERS: Final = {
    "step-up": ("step-up", "re-authenticate"),
    "re-authenticate": ("re-authenticate",),
    "renew": ("renew", "re-authenticate"),
    "install": ("install", "re-authenticate"),
}
#: Whoever declined to show a second factor gets no further without it, and would lose the session.
LADDERS_WITH_PEOPLE: Final = {**LADDERS, "step-up": ("step-up",)}

_T = TypeVar("_T")


class ReauthPolicy:
    """How a program gets its sessions out of a refusal. Thread-safe; one for all guards of a keeper."""

    def __init__(
        self,
        ask: Ask | None = None,
        /,
        *,
        posture: PostureProver | None = None,
        pause_s: float = PAUSE_S,
        pause_max_s: float = PAUSE_MAX_S,
        wait_s: float = WAIT_S,
    ) -> None:
        """``ask(refusal, session)`` gives a second factor, or None to go without; it is called in a thread
        that makes a guarded call, and in no other. ``posture`` is shown afresh in every step-up. ``pause_s``
        between two remedies is doubled up to ``pause_max_s`` while they do not help; ``wait_s`` bounds the
        waiting for a point that does not hear from its Authority.
        """
        if not 0 < pause_s <= pause_max_s or wait_s < 0:
            raise ConfigurationError(
                "pauses: expected more than 0 seconds, and pause_max_s not below pause_s"
            )
        self.asks = ask is not None
        self._wait_s = wait_s
        self._remedies_of = partial(
            Remedies, ask=ask, posture=posture, pause_s=pause_s, pause_max_s=pause_max_s
        )
        self._kept: WeakKeyDictionary[SessionKeeper, Remedies] = WeakKeyDictionary()
        self._making = threading.Lock()

    @classmethod
    def automatic(cls, posture: PostureProver | None = None, **options: float) -> ReauthPolicy:
        """For services: a step-up with fresh posture, and where that does not help a full authentication with
        what was given at :func:`connect`. ``options`` are those of the class.
        """
        return cls(posture=posture, **options)

    @classmethod
    def prompting(
        cls,
        *,
        tries: int = 3,
        timeout_s: float = 60.0,
        posture: PostureProver | None = None,
        terminal: str = "/dev/tty",
        **options: float,
    ) -> ReauthPolicy:
        """For people: a one-time code is asked for at the terminal, ``tries`` times within ``timeout_s``."""
        from ztsession.client.prompt import CodePrompt
        from ztsession.mfa.prover import TotpProver

        made = partial(CodePrompt, tries=tries, timeout_s=timeout_s, terminal=terminal)
        made()  # refuses impossible numbers now
        return cls(lambda refusal, session: TotpProver(made()), posture=posture, **options)

    def guard(
        self,
        keeper: SessionKeeper,
        operation: str,
        send: Callable[[bytes, bytes], _T],
        *,
        point: str | None = None,
        safe_to_repeat: bool = False,
        authentic: bool = False,
    ) -> Guarded[_T]:
        """The call ``(body) -> reply`` of one operation by the keeper's session.

        ``send(token, body)`` carries one call and returns the reply; it raises the ``Denied`` that the
        enforcement point answered, for this call and not for another that the handler made, and
        TransportError or another OSError when the answer is lost. ``point``: as for
        :meth:`SessionKeeper.signer`.

        ``safe_to_repeat``: to execute it twice is as good as once. ``authentic``: a refusal can only have
        come from the enforcement point itself. Without either, a refused session is put right and the refusal
        raised all the same.
        """
        return Guarded(self._call(keeper, operation, point, safe_to_repeat, authentic), send)

    def guard_async(
        self,
        keeper: SessionKeeper,
        operation: str,
        send: Callable[[bytes, bytes], Awaitable[_T]],
        *,
        point: str | None = None,
        safe_to_repeat: bool = False,
        authentic: bool = False,
    ) -> GuardedAsync[_T]:
        """The same in an event loop. What helps the session blocks, and is done in a thread of the loop's
        executor; so the policy must ask nobody.
        """
        if self.asks:
            raise ConfigurationError("a policy that asks somebody: expected guard(), in a thread of yours")
        return GuardedAsync(self._call(keeper, operation, point, safe_to_repeat, authentic), send)

    def _call(
        self,
        keeper: SessionKeeper,
        operation: str,
        point: str | None,
        safe_to_repeat: bool,
        authentic: bool,
    ) -> Call:
        name = point or operation.partition(".")[0]
        sign = keeper.signer(operation, name)
        with self._making:
            remedies = self._kept.get(keeper) or self._remedies_of(keeper)
            self._kept[keeper] = remedies
        rungs = LADDERS_WITH_PEOPLE if self.asks else LADDERS
        return Call(keeper, remedies, sign, name, rungs, safe_to_repeat, authentic, self._wait_s)
