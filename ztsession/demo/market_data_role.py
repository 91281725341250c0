"""The market-data service's process: publishes top-of-book states to its subscribers, each one signed.

A subscriber grants credit and gets so many states; without credit nothing is sent, so nothing grows old in
a socket's buffer. Later the director has this process "compromised": from then on it does its worst with
everything it holds, which is what any process holds that was ever sent something.
"""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path
from typing import Any

from ztsession import SessionView
from ztsession.demo.attacker import Attacker, Loot
from ztsession.demo.control import Control
from ztsession.demo.messages import Quote, Subscribe, decode, encode, is_signed, join, split
from ztsession.demo.quotes import STATES_MAX, STATES_MIN, generated_states, read_states
from ztsession.demo.service import address_of, open_point
from ztsession.demo.tap import Tapped
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import ConfigurationError, Denied, SessionEnded, WireError
from ztsession.policy.catalog import Catalog
from ztsession.server import StreamServer
from ztsession.tickets import SegmentKey

__all__ = ["CREDIT_MAX", "MarketData", "MarketDataRole"]

#: States in one frame.
CREDIT_MAX = 512

_OPERATION = "market-data.subscribe"
_INSTRUMENT = b"DEMO"


class MarketData:
    """Credit in, signed states out."""

    def __init__(self, point: EnforcementPoint, states: list[bytes]) -> None:
        """``states``: the bodies to publish, in order."""
        self.point, self._states = point, states
        self.verdicts: Counter[str] = Counter()
        self.published = 0
        self._verify = point.verifier(_OPERATION)
        #: What passed through here lately. An honest service has no use for it; a compromised one does.
        self.requests: deque[tuple[bytes, bytes]] = deque(maxlen=64)
        self.states: deque[tuple[bytes, bytes]] = deque(maxlen=64)
        self.installations: deque[bytes] = deque(maxlen=8)

    def exchange(self, message: bytes) -> bytes:
        """A subscriber's credit, or a ticket to install."""
        if not is_signed(message):
            self.installations.append(message)
            return self.point.exchange(message)
        return b"".join([self._publish(token, body) for token, body in split(message)])

    def _publish(self, token: bytes, body: bytes) -> bytes:
        try:
            session = self._verify(token, body)
        except Denied as denied:
            self.verdicts[denied.verdict] += 1
            return b""
        self.verdicts["OK"] += 1
        self.requests.append((token, body))
        return self._signed(session, body)

    def _signed(self, session: SessionView, body: bytes) -> bytes:
        asked = decode(body)
        if not isinstance(asked, Subscribe) or asked.credit > CREDIT_MAX:
            raise WireError(f"{_OPERATION} takes a Subscribe with a credit of at most {CREDIT_MAX}")
        bodies = self._states[asked.first : asked.first + asked.credit]
        sign = self.point.signer(session, _OPERATION)
        try:
            signed = [(sign(state), state) for state in bodies]
        except SessionEnded:
            return b""
        self.published += len(signed)
        self.states.extend(signed[-8:])
        return join(signed)


class MarketDataRole:
    """Commands: load, open, counts, compromise, attack, close."""

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
        """Make the enforcement point and listen; the arguments of ``open_point``."""
        self._where = where
        self._service = MarketData(open_point("market-data", **where), self._states)
        self._server = StreamServer(("127.0.0.1", 0), lambda source: self._service, silence_s=120.0)
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

    def close(self) -> None:
        """Stop."""
        self._server.close()
        self._service.point.close()


if __name__ == "__main__":
    role = MarketDataRole()
    Control().serve(
        {
            "load": role.load,
            "open": role.open,
            "counts": role.counts,
            "compromise": role.compromise,
            "attack": role.attack,
            "close": role.close,
        }
    )
