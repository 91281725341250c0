"""The keys that SETs are signed with: ECDSA over P-256 (ES256), published as a JWKS.

They are keys of their own. A ticket's signature must never be one that a receiver of events could be shown,
and every receiver of events knows ES256, which is not so of Ed25519. But they are not written down: each is
derived from the Authority's sealing key and its own number, so there is nothing more on the disk to steal, to
back up or to lose, and the form of the sealed file stays. What is kept, in the clear, is the numbers and how
far their rotation has come.

A key is published before it signs and for a while after: receivers keep the JWKS that they have fetched.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from ztsession.audit.sink import AuditSink
from ztsession.authority.keyring import CURRENT, NEXT, OLD, spoken
from ztsession.authority.keys import AuthorityKeys
from ztsession.errors import ConfigurationError, StoreError, WireError
from ztsession.identity.jose import base64url, thumbprint
from ztsession.risk.ssf.names import SET_TYPE
from ztsession.store.sqlite import SqliteStore
from ztsession.wire.schema import Integer, ListOf, Message, OneOf, Row

if TYPE_CHECKING:
    from joserfc.jwk import ECKey

__all__ = ["SET_OVERLAP_S", "SetKeys"]

#: Longer than receivers keep a JWKS as a rule.
SET_OVERLAP_S: Final = 86_400
ALGORITHM: Final = "ES256"

_STATE: Final = "set-keys"
_KEYS_MAX: Final = 3
_NUMBER_MAX: Final = 2**31
#: The order of the base point of P-256 (SP 800-186, section 3.2.1.3).
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class _Form(Message, kind="set-keys", max_bytes=1024):
    """Each key: its number, its state, and since when (unix s)."""

    keys: Annotated[
        list[list[Any]],
        ListOf(Row((Integer(1, _NUMBER_MAX), OneOf((NEXT, CURRENT, OLD)), Integer(0, 2**53))), _KEYS_MAX, 1),
    ] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Key:
    number: int
    state: str
    since: int


class SetKeys:
    """Signs SETs, and takes the steps of a rotation. Thread-safe; every step is audited and durable."""

    def __init__(
        self,
        keys: AuthorityKeys,
        store: SqliteStore,
        audit: AuditSink,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._store, self._audit, self._clock = keys, store, audit, clock
        self._lock = threading.RLock()
        self._pairs: dict[int, ECKey] = {}

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A SET of these claims in compact form (RFC 8417, section 2.1), by the current key."""
        from joserfc import jws

        pair = self._pair(self._in(CURRENT).number)
        header = {"alg": ALGORITHM, "typ": SET_TYPE, "kid": _kid(pair)}
        return jws.serialize_compact(header, json.dumps(claims, separators=(",", ":")), pair)

    def jwks(self) -> dict[str, Any]:
        """The public halves of all keys, as a JWK Set (RFC 7517)."""
        return {"keys": [_public(self._pair(key.number)) for key in self._kept()]}

    # ---- Rotation

    def stage(self) -> str:
        """Publish the next key beside the current one; returns its kid."""
        return self._step("staged", lambda keys: (*_without(keys, NEXT), self._fresh(keys)), NEXT)

    def activate(self, *, overlap_s: int = SET_OVERLAP_S) -> str:
        """Sign with the staged key from now on, ``overlap_s`` after it was published at the earliest;
        returns its kid. The one before stays published.
        """
        self._expect_due(NEXT, overlap_s)
        moved = {NEXT: CURRENT, CURRENT: OLD}
        now = int(self._clock())

        def step(keys: tuple[_Key, ...]) -> tuple[_Key, ...]:
            return tuple(replace(key, state=moved[key.state], since=now) for key in _without(keys, OLD))

        return self._step("activated", step, CURRENT)

    def retire(self, *, overlap_s: int = SET_OVERLAP_S) -> str:
        """Publish the old key no more, ``overlap_s`` after its successor was activated at the earliest;
        returns its kid.
        """
        self._expect_due(OLD, overlap_s)
        kid = _kid(self._pair(self._in(OLD).number))
        self._step("retired", lambda keys: _without(keys, OLD), CURRENT, kid=kid)
        return kid

    # ---- Inside

    def _step(
        self, name: str, step: Callable[[tuple[_Key, ...]], tuple[_Key, ...]], told: str, *, kid: str = ""
    ) -> str:
        with self._lock:
            after = step(self._kept())
            kid = kid or _kid(self._pair(next(key.number for key in after if key.state == told)))
            self._audit.record("rotation.sets", step=name, kid=kid)
            self._write(after)
            return kid

    def _fresh(self, keys: tuple[_Key, ...]) -> _Key:
        # Never a number that was in use: the key of a lower one may have been retired for a reason.
        return _Key(max(key.number for key in keys) + 1, NEXT, int(self._clock()))

    def _expect_due(self, state: str, overlap_s: int) -> None:
        due = self._in(state).since + overlap_s
        if self._clock() < due:
            raise ConfigurationError(
                f"the {state} key of SETs: its overlap lasts until {spoken(due)}; give a shorter overlap_s "
                "if it must end now"
            )

    def _in(self, state: str) -> _Key:
        for key in self._kept():
            if key.state == state:
                return key
        raise ConfigurationError(f"there is no key of SETs that is {state}")

    def _kept(self) -> tuple[_Key, ...]:
        with self._lock:
            data = self._store.get_state(_STATE)
            if data is None:
                self._write((_Key(1, CURRENT, int(self._clock())),))
                return self._kept()
            try:
                return tuple(_Key(*row) for row in _Form.from_bytes(data).keys)
            except WireError as error:
                raise StoreError(f"the state of the keys of SETs is damaged: {error}") from None

    def _write(self, keys: tuple[_Key, ...]) -> None:
        form = _Form([[key.number, key.state, key.since] for key in keys])
        self._store.put_state(_STATE, form.to_bytes())

    def _pair(self, number: int) -> ECKey:
        with self._lock:
            pair = self._pairs.get(number)
            if pair is None:
                pair = self._pairs[number] = _derived(self._keys.sealing(f"set signing {number}"))
            return pair


def _without(keys: tuple[_Key, ...], state: str) -> tuple[_Key, ...]:
    return tuple(key for key in keys if key.state != state)


def _derived(seed: bytes) -> ECKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from joserfc.jwk import ECKey

    # 512 bits for 256: what is left of a bias is below 2^-256 (FIPS 186-5, appendix A.2.1).
    wide = int.from_bytes(hashlib.sha512(b"ztsession v1 set signing" + seed).digest(), "big")
    scalar = wide % (_ORDER - 1) + 1
    point = ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers()
    members = {"d": scalar, "x": point.x, "y": point.y}
    encoded = {name: base64url(value.to_bytes(32, "big")) for name, value in members.items()}
    return ECKey.import_key({"kty": "EC", "crv": "P-256", **encoded})


def _public(pair: ECKey) -> dict[str, Any]:
    return {**_required(pair), "kid": _kid(pair), "use": "sig", "alg": ALGORITHM}


def _kid(pair: ECKey) -> str:
    return thumbprint(_required(pair))


def _required(pair: ECKey) -> dict[str, str]:
    public = pair.as_dict(private=False)
    return {name: str(public[name]) for name in ("crv", "kty", "x", "y")}
