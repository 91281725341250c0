"""An issuer's keys: read strictly, kept for a while, and asked for again with restraint.

Whoever can make the Authority take one more key for an issuer's can be anybody, so a key set is read in one
way only: each id once, public signature keys alone, each key with the algorithms of its own kind. And because
the id of a key stands in a token that a stranger sends, an unknown id must be able to cause a question to the
issuer (that is how a new key is learned) and no flood of them: one question in ten seconds, however it ends,
however many ask. Whoever asks for a key that is known waits for nobody.

While the issuer cannot be reached its last keys go on being used, for four hours since they were fetched and
no longer: so long may a key that the issuer withdrew still be believed by an Authority that is cut off.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from ztsession.errors import EvidenceError, KeysUnavailable
from ztsession.identity.jose import from_base64url, strict_json
from ztsession.wire.signature import check_public_key

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "ALGORITHMS",
    "JWKS_MAX_BYTES",
    "KEYS_MAX",
    "KID_MAX_BYTES",
    "AsyncJwksCache",
    "FixedJwks",
    "IssuerKey",
    "JwksCache",
    "KeySource",
    "read_jwks",
]

#: Fetched keys are asked for again after so long,
MAX_AGE_S = 3600
#: and while that fails are still used until they are so old.
STALE_MAX_AGE_S = 4 * 3600
#: One question to the issuer in so long, whether it was answered or not.
ASK_AGAIN_S = 10
#: A verification waits at most so long for an answer.
WAIT_S = 2.0

JWKS_MAX_BYTES = 256 * 1024
KEYS_MAX = 64
KID_MAX_BYTES = 256

#: The signature algorithms there are (RFC 7518 section 3.1, RFC 8037, RFC 9864), each with its only kind of
#: key. Symmetric ones and "none" are not among them, so no setting can allow them.
ALGORITHMS: dict[str, tuple[str, str]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
    "Ed25519": ("OKP", "Ed25519"),
    **dict.fromkeys(("PS256", "PS384", "PS512", "RS256", "RS384", "RS512"), ("RSA", "")),
}

_COORDINATE_BYTES = {"P-256": 32, "P-384": 48, "P-521": 66}
_RSA_MIN_BITS, _RSA_MAX_BITS = 2048, 8192
#: 65537; any other exponent is either weak or makes each verification as slow as its author likes.
_RSA_EXPONENT = "AQAB"
#: RFC 7518 sections 6.2.2, 6.3.2 and 6.4: what only the owner of a key may have.
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

_log = logging.getLogger("ztsession.identity")


def _since_boot() -> float:
    # A machine that slept did not stop the issuer from withdrawing keys: this clock counts the sleep.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class IssuerKey:
    """One public key: ``crv`` is empty for RSA, ``alg`` when the key set does not tie the key to one."""

    kid: str
    kty: str
    crv: str
    alg: str
    _key: Any = field(repr=False)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> None:
        """Raise ``EvidenceError`` unless this key made ``signature`` (JWA form) with this algorithm."""
        # The token names its algorithm, the key decides which it can be (CVE-2022-29217, CVE-2024-37568).
        if ALGORITHMS.get(algorithm) != (self.kty, self.crv) or self.alg not in ("", algorithm):
            raise EvidenceError("the token's algorithm is not one of its key")
        from joserfc.jws import JWSRegistry

        model = JWSRegistry.algorithms[algorithm]
        try:
            model.check_key(self._key)
            holds = model.verify(message, signature, self._key)
        except Exception:
            holds = False
        if holds is not True:
            raise EvidenceError("the token's signature does not hold")


class KeySource(Protocol):
    """Where the keys of one issuer come from."""

    def key(self, kid: str) -> IssuerKey:
        """The key of this id; ``EvidenceError`` if there is none."""


class FixedJwks:
    """The keys of a file: what the operator wrote, until it is read again."""

    def __init__(self, keys: Mapping[str, IssuerKey]) -> None:
        self._keys = dict(keys)

    def key(self, kid: str) -> IssuerKey:
        """The key of this id; ``EvidenceError`` if there is none."""
        return _found(self._keys.get(kid))


class JwksCache:
    """The keys that ``fetch`` returns (a JWK Set, RFC 7517 section 5). Thread-safe.

    ``fetch`` runs on a thread of its own, one at a time. Its caller waits for it at most ``WAIT_S``; others
    wait only if they could do nothing else, and never past the same moment. ``name`` is for the log.
    """

    def __init__(
        self, fetch: Callable[[], bytes], *, name: str = "", clock: Callable[[], float] = _since_boot
    ) -> None:
        self._fetch, self._name, self._shelf = fetch, name, _Shelf(clock)
        self._lock, self._flight = threading.Lock(), _Flight()
        self._flight.landed.set()

    def key(self, kid: str) -> IssuerKey:
        """The key of this id, fetched if need be; ``EvidenceError`` if the issuer has none, and of that
        ``KeysUnavailable`` if it did not say so when it was asked for this.
        """
        since, found = self._shelf.now(), self._shelf.fresh(kid)
        if found is None:
            flight, mine = self._ask()
            if mine or self._shelf.find(kid, STALE_MAX_AGE_S) is None:
                flight.landed.wait(max(0.0, flight.wait_until - time.monotonic()))
            found = self._shelf.find(kid, STALE_MAX_AGE_S)
        return found if found is not None else self._shelf.missing(since)

    def doubt(self) -> None:
        """Ask the issuer again before the next use; until it answers, what is known serves as ever."""
        self._shelf.doubt()

    def _ask(self) -> tuple[_Flight, bool]:
        with self._lock:
            if not self._flight.landed.is_set() or not self._shelf.may_ask():
                return self._flight, False
            flight = self._flight = _Flight()
        try:
            threading.Thread(target=self._fly, args=(flight,), name="ztsession-jwks", daemon=True).start()
        except RuntimeError:
            flight.landed.set()  # the machine has no thread left; the next question comes in its time
        return flight, True

    def _fly(self, flight: _Flight) -> None:
        try:
            self._shelf.fill(self._fetch())
        except Exception as error:
            _log.warning("the keys of %s could not be fetched: %s", self._name, error)
        finally:
            flight.landed.set()


class AsyncJwksCache:
    """The same for one event loop: ``await cache.key(kid)``. A cancelled caller leaves the fetch running."""

    def __init__(
        self,
        fetch: Callable[[], Awaitable[bytes]],
        *,
        name: str = "",
        clock: Callable[[], float] = _since_boot,
    ) -> None:
        self._fetch, self._name, self._shelf = fetch, name, _Shelf(clock)
        self._flight: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> IssuerKey:
        """The key of this id, fetched if need be; ``EvidenceError`` and ``KeysUnavailable`` as above."""
        since, found = self._shelf.now(), self._shelf.fresh(kid)
        if found is None:
            import asyncio

            mine = (self._flight is None or self._flight.done()) and self._shelf.may_ask()
            if mine:
                self._flight = asyncio.create_task(self._fly())
            if self._flight is not None and (mine or self._shelf.find(kid, STALE_MAX_AGE_S) is None):
                await asyncio.wait({self._flight}, timeout=WAIT_S)
            found = self._shelf.find(kid, STALE_MAX_AGE_S)
        return found if found is not None else self._shelf.missing(since)

    async def _fly(self) -> None:
        try:
            self._shelf.fill(await self._fetch())
        except Exception as error:
            _log.warning("the keys of %s could not be fetched: %s", self._name, error)


class _Shelf:
    """What both caches decide by: the keys, their age, and when the issuer was last asked. No I/O."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Replaced as one, so that a reader needs no lock and never sees new keys with an old age.
        self._held: tuple[Mapping[str, IssuerKey], float] = ({}, -math.inf)
        self._asked_at = self._doubted_at = -math.inf

    def now(self) -> float:
        return self._clock()

    def missing(self, since: float) -> NoReturn:
        # Whoever must not lose what a new key has signed has to know that this may be one.
        if self._held[1] >= since:
            _unknown()
        raise KeysUnavailable("no key of this id is known of the issuer, and it could not be asked again")

    def doubt(self) -> None:
        self._doubted_at = self._clock()

    def fresh(self, kid: str) -> IssuerKey | None:
        return self.find(kid, MAX_AGE_S) if self._held[1] > self._doubted_at else None

    def find(self, kid: str, max_age_s: float) -> IssuerKey | None:
        keys, fetched_at = self._held
        return keys.get(kid) if self._clock() - fetched_at < max_age_s else None

    def may_ask(self) -> bool:
        now = self._clock()
        if now - self._asked_at < ASK_AGAIN_S:
            return False
        self._asked_at = now
        return True

    def fill(self, data: bytes) -> None:
        # As old as the question: the answer may have been on its way for a while.
        self._held = (read_jwks(data), self._asked_at)


class _Flight:
    """One fetch, and until when somebody may wait for it (seconds of the machine's own clock)."""

    def __init__(self) -> None:
        self.landed, self.wait_until = threading.Event(), time.monotonic() + WAIT_S


def read_jwks(data: bytes) -> dict[str, IssuerKey]:
    """Return the signature keys of a JWK Set (RFC 7517) by their ids; ``EvidenceError`` if it is unfit.

    Left out is what is meant for others: keys without an id, for encryption, of unknown kinds. The whole set
    is refused when it is malformed, names an id twice, or has a secret, weak or invalid key in it.
    """
    if len(data) > JWKS_MAX_BYTES:
        raise EvidenceError(f"the key set has over {JWKS_MAX_BYTES} bytes")
    entries = strict_json(data, "the key set").get("keys")
    if not isinstance(entries, list) or not len(entries) <= KEYS_MAX:
        raise EvidenceError(f"the key set has no list of at most {KEYS_MAX} keys")
    keys: dict[str, IssuerKey] = {}
    for entry in entries:
        key = _read_key(entry)
        if key is not None and keys.setdefault(key.kid, key) is not key:
            raise EvidenceError("the key set has two keys of one id")
    if not keys:
        raise EvidenceError("the key set has no key to verify signatures with")
    return keys


def _read_key(entry: object) -> IssuerKey | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("kty"), str):
        raise EvidenceError("the key set has an entry that is no key")
    if entry["kty"] == "oct" or not _SECRET_MEMBERS.isdisjoint(entry):
        # Whoever publishes one has lost it, and a set that mixes both kinds is how they get confused.
        raise EvidenceError("the key set has a secret key in it")
    kid, alg, ops = entry.get("kid"), entry.get("alg", ""), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX_BYTES:
        return None
    if entry.get("use", "sig") != "sig" or not isinstance(ops, list) or "verify" not in ops:
        return None
    if not isinstance(alg, str) or (alg and alg not in ALGORITHMS):
        return None
    public = _public_members(entry)
    if public is None:
        return None
    return IssuerKey(kid, public["kty"], public.get("crv", ""), alg, _imported(public))


def _public_members(entry: Mapping[str, Any]) -> dict[str, str] | None:
    kty, crv = entry["kty"], entry.get("crv")
    if kty == "EC" and isinstance(crv, str) and crv in _COORDINATE_BYTES:
        names = ("x", "y")
        if any(len(from_base64url(entry.get(name), "a key")) != _COORDINATE_BYTES[crv] for name in names):
            raise EvidenceError("the key set has a coordinate of a wrong length")
        return {"kty": kty, "crv": crv, **{name: entry[name] for name in names}}
    if kty == "OKP" and crv == "Ed25519":
        check_public_key(from_base64url(entry.get("x"), "a key"))
        return {"kty": kty, "crv": crv, "x": entry["x"]}
    if kty == "RSA":
        modulus = from_base64url(entry.get("n"), "a key")
        bits = int.from_bytes(modulus, "big").bit_length()
        if not _RSA_MIN_BITS <= bits <= _RSA_MAX_BITS or modulus[0] == 0 or entry.get("e") != _RSA_EXPONENT:
            raise EvidenceError(f"the key set has an RSA key not of {_RSA_MIN_BITS} to {_RSA_MAX_BITS} bits")
        return {"kty": kty, "n": entry["n"], "e": entry["e"]}
    return None


def _imported(public: dict[str, str]) -> Any:
    from joserfc import jwk

    try:
        return jwk.import_key({**public})
    except Exception:
        raise EvidenceError("the key set has a key that is none, such as a point off its curve") from None


def _found(key: IssuerKey | None) -> IssuerKey:
    return key if key is not None else _unknown()


def _unknown() -> NoReturn:
    raise EvidenceError("no key of this id is known of the issuer")
