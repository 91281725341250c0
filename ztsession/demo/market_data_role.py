"""The market-data service's process: publishes top-of-book states to its subscribers, each one signed.

A subscriber grants credit and gets so many states; without credit nothing is sent, so nothing grows old in
a socket's buffer. Later the director has this process "compromised": from then on it does its worst with
everything it holds, which is what any process holds that was ever sent something.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ztsession import SessionView, Verifier
from ztsession.demo.attacker import Attacker, Loot
from ztsession.demo.control import Control
from ztsession.demo.false_signals import FalseSignals
from ztsession.demo.messages import (
    CorrectQuote,
    Kind,
    Quote,
    Subscribe,
    decode,
    encode,
    is_signed,
    join,
    split,
)
from ztsession.demo.quotes import STATES_MAX, STATES_MIN, generated_states, read_states
from ztsession.demo.service import address_of, open_watched_point
from ztsession.demo.tap import Tapped
from ztsession.demo.watching import Watching
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import ConfigurationError, Denied, SessionEnded, WireError
from ztsession.policy.catalog import Catalog
from ztsession.server import StreamServer
from ztsession.tickets import SegmentKey

__all__ = ["CREDIT_MAX", "MarketData", "MarketDataRole"]

#: States in one frame.
CREDIT_MAX = 512

_SUBSCRIBE, _CORRECT = "market-data.subscribe", "market-data.correct"
_INSTRUMENT = b"DEMO"

_Route = tuple[Verifier, Callable[[SessionView, bytes], bytes]]


class MarketData:
    """Credit in, signed states out; and corrections of them."""

    def __init__(
        self,
        point: EnforcementPoint,
        states: list[bytes],
        refused: Callable[[str, bytes, Denied], None] = lambda *_: None,
    ) -> None:
        """``states``: the bodies to publish, in order; ``refused(peer, token, why)`` is told of every call
        that is refused.
        """
        self.point, self._states, self._refused = point, states, refused
        self.verdicts: Counter[str] = Counter()
        self.published = 0
        self._subscribing: _Route = (point.verifier(_SUBSCRIBE), self._publish)
        self._routes: dict[int, _Route] = {
            Kind.SUBSCRIBE: self._subscribing,
            Kind.CORRECT_QUOTE: (point.verifier(_CORRECT), self._correct),
        }
        #: What passed through here lately. An honest service has no use for it; a compromised one does.
        self.requests: deque[tuple[bytes, bytes]] = deque(maxlen=64)
        self.states: deque[tuple[bytes, bytes]] = deque(maxlen=64)
        self.installations: deque[bytes] = deque(maxlen=8)

    def exchange(self, message: bytes, peer: str = "") -> bytes:
        """A subscriber's credit, a correction, or a ticket to install."""
        if not is_signed(message):
            self.installations.append(message)
            return self.point.exchange(message)
        return b"".join([self._answer(token, body, peer) for token, body in split(message)])

    def _answer(self, token: bytes, body: bytes, peer: str) -> bytes:
        verify, handler = self._routes.get(body[0]) or self._subscribing
        try:
            session = verify(token, body)
        except Denied as denied:
            self.verdicts[denied.verdict] += 1
            self._refused(peer, token, denied)
            return b""
        self.verdicts["OK"] += 1
        self.requests.append((token, body))
        return handler(session, body)

    def _correct(self, session: SessionView, body: bytes) -> bytes:
        asked = decode(body)
        if not isinstance(asked, CorrectQuote) or asked.number >= len(self._states):
            raise WireError(f"{_CORRECT} takes a CorrectQuote of a state that there is")
        was = decode(self._states[asked.number])
        assert isinstance(was, Quote)  # noqa: S101
        self._states[asked.number] = encode(was._replace(ask=asked.ask, bid=asked.bid))
        reply = self._states[asked.number]
        return self.point.sign_reply(session, reply) + reply

    def _publish(self, session: SessionView, body: bytes) -> bytes:
        asked = decode(body)
        if not isinstance(asked, Subscribe) or asked.credit > CREDIT_MAX:
            raise WireError(f"{_SUBSCRIBE} takes a Subscribe with a credit of at most {CREDIT_MAX}")
        bodies = self._states[asked.first : asked.first + asked.credit]
        sign = self.point.signer(session, _SUBSCRIBE)
        try:
            signed = [(sign(state), state) for state in bodies]
        except SessionEnded:
            return b""
        self.published += len(signed)
        self.states.extend(signed[-8:])
        return join(signed)


class _Conversation:
    """One connection, from ``peer``."""

    def __init__(self, service: MarketData, peer: str) -> None:
        self._service, self._peer = service, peer

    def exchange(self, message: bytes) -> bytes:
        """What came over it."""
        return self._service.exchange(message, self._peer)


class MarketDataRole:
    """Commands: prepare, load, open, counts, compromise, attack, false_signals, close."""

    def __init__(self) -> None:
        self._watching = Watching("market-data-service")

    def prepare(self) -> dict[str, str]:
        """What an operator needs to believe what is reported from here."""
        return self._watching.entry("market-data")

    def load(self, quotes: str | None, seed: int, messages: int) -> int:
        """Read or generate the states; how many there are. ``messages`` 0: all that the file has."""
        at_most = messages or STATES_MAX
        states = (
            generated_states(seed, messages) if quotes is None else read_states(Path(quotes), at_most=at_most)
        )
        self._states = [
            encode(Quote(number, s.ask, s.bid, s.ask_size, s.bid_size, _INSTRUMENT))
            for number, s in enumerate(states)
        ]
        if len(self._states) < STATES_MIN:
            raise ConfigurationError(f"expected at least {STATES_MIN} states", file=quotes)
        return len(self._states)

    def open(self, **where: Any) -> dict[str, object]:
        """Make the enforcement point and listen; the arguments of ``open_watched_point``."""
        self._where = where
        point = open_watched_point("market-data", self._watching, **where)
        self._service = MarketData(point, self._states, self._watching.refused)
        self._server = StreamServer(
            ("127.0.0.1", 0), lambda source: _Conversation(self._service, source), silence_s=120.0
        )
        return {"address": self._server.address}

    def counts(self) -> dict[str, object]:
        """Verdicts on subscribers' calls, and how many states were signed."""
        return {"verdicts": dict(self._service.verdicts), "published": self._service.published}

    def compromise(self, tapped: dict[str, list[str]], gateway: list[Any], root: str) -> list[str]:
        """From here on this process is the attacker's. ``tapped``: frames off the wire; the attacks that it
        knows.
        """
        service, where = self._service, self._where
        loot = Loot(
            key=SegmentKey.from_file(where["key"]),
            ticket_key=bytes.fromhex(where["ticket_key"]),
            orders=Catalog.load(where["catalog"]).segment("orders"),
            installations=list(service.installations),
            requests=list(service.requests),
            states=list(service.states),
        )
        authority = address_of(where["authority"])
        tap = Tapped.from_text(tapped)
        self._attacker = Attacker(
            loot, tap, gateway=address_of(gateway), authority=authority, root=bytes.fromhex(root)
        )
        return list(self._attacker.attacks)

    def attack(self, name: str) -> int:
        """Carry out one of them; how many attempts it made."""
        return self._attacker.attacks[name]()

    def false_signals(self, how: str, url: str, pushed: list[str]) -> int:
        """Push to the Authority's door at ``url`` what is "forged" in the device management's name, or what
        was ``pushed`` by it, "replayed"; how many.
        """
        liar = FalseSignals(url, pushed)
        return liar.forge() if how == "forged" else liar.replay()

    def close(self) -> None:
        """Stop."""
        self._server.close()
        self._watching.close()
        self._service.point.close()


if __name__ == "__main__":
    role = MarketDataRole()
    Control().serve(
        {
            "prepare": role.prepare,
            "load": role.load,
            "open": role.open,
            "counts": role.counts,
            "compromise": role.compromise,
            "attack": role.attack,
            "false_signals": role.false_signals,
            "close": role.close,
        }
    )
