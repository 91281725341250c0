"""The act of the human trader: what a key alone is good for, and what a second factor adds.

All that is written down is what the gateway counted and what the Authority knows; of the trader's own words
only the times are kept.
"""

from __future__ import annotations

from typing import Any, Final

from ztsession.demo.cast import Cast
from ztsession.demo.trader_role import SUBJECT

__all__ = ["SOME", "TraderAct"]

#: Calls of each kind.
SOME: Final = 16


class TraderAct:
    """Enrols the person's second factor while the Authority runs, and leads through the step-up."""

    def __init__(self, cast: Cast) -> None:
        self._cast, self._trader = cast, cast.trader

    def play(self) -> None:
        """All of it; the facts go to ``facts["trader"]`` and the gateway's counts by act."""
        cast = self._cast
        orders = cast.counted("orders to watch", cast.algorithm.ask, "rest", count=SOME)
        cast.watch.act("A human trader connects by key; the operator enrols an authenticator app meanwhile")
        self._facts = cast.facts["trader"] = self._connect()
        cast.counted("trader by key", self._work, orders)
        cast.watch.act("A wrong code changes nothing; the right one, shown in the channel, widens the grant")
        self._facts["wrong_code"] = self._changed(self._wrong_code)
        self._facts["step_up"] = self._changed(self._step_up)
        cast.counted(
            "trader under the old key", self._trader.ask, "override", orders=SOME, under_old_key=True
        )
        cast.watch.act("The same code is shown again, from a second session")
        self._facts["same_code"] = self._changed(self._same_code)
        self._facts["granted"] = cast.authority.ask("granted", subject=SUBJECT)

    def _connect(self) -> dict[str, Any]:
        authority = self._cast.authority
        uri = authority.ask("offer_totp", subject=SUBJECT)
        connected = self._trader.ask("connect", **self._cast.where)
        authority.ask("confirm_totp", subject=SUBJECT, code=self._trader.ask("scan", uri=uri))
        return {"connected": connected}

    def _work(self, orders: list[int]) -> None:
        self._trader.ask("look_and_cancel", orders=orders)
        self._trader.ask("override", orders=SOME)

    def _wrong_code(self) -> dict[str, Any]:
        self._trader.ask("wrong_code")
        self._cast.counted("trader after a wrong code", self._trader.ask, "override", orders=SOME)
        return {}

    def _step_up(self) -> dict[str, Any]:
        def step_up() -> dict[str, Any]:
            took: dict[str, Any] = self._trader.ask("step_up")
            self._trader.ask("override", orders=SOME)
            return took

        took: dict[str, Any] = self._cast.counted("trader stepped up", step_up)
        return took

    def _same_code(self) -> dict[str, Any]:
        self._cast.counted("trader with a used code", self._trader.ask, "same_code_again", orders=SOME)
        return {}

    def _changed(self, play: Any) -> dict[str, Any]:
        """What the Authority knows afterwards, beside what it knew before."""
        cast = self._cast
        events, causes = cast.look(), len(cast.authority.ask("refusals"))
        before = cast.authority.ask("standing", subject=SUBJECT)
        told = play()
        return {
            **told,
            "authority": cast.since(events)["authority"],
            "causes": cast.authority.ask("refusals")[causes:],
            "before": before,
            "after": cast.authority.ask("standing", subject=SUBJECT),
        }
