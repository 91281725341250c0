"""The protocol's key schedule, token and call rules once more, slow and obvious, from hashlib and hmac alone.

It shares no line with the core, so that an error must be made twice to go unseen. It is never shipped.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field

LABEL = b"ztsession v1 chain"
REQUEST, REPLY = 0, 1
SEQUENCE_MAX = 2**37 - 1
SKEW_US = 250_000
EPOCH_STEPS_MAX = 64


# ---- Keys and tokens


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


@dataclass
class Keys:
    """Every key of one installation from the beginning; a real end holds three epochs and forgets the
    rest.
    """

    secret: bytes
    nonce: bytes
    handle: int
    first_epoch: int
    chains: dict[int, list[bytes]] = field(default_factory=dict)

    def chain(self, direction: int, epoch: int) -> bytes:
        chains = self.chains.setdefault(direction, [self._first_chain(direction)])
        while len(chains) <= epoch - self.first_epoch:
            chains.append(mac(chains[-1], b"\x02"))
        return chains[max(0, epoch - self.first_epoch)]

    def _first_chain(self, direction: int) -> bytes:
        info = LABEL + bytes([direction]) + struct.pack("<Q", self.handle)
        return mac(mac(self.nonce, self.secret), info + b"\x01")

    def token_key(self, direction: int, epoch: int) -> bytes:
        return mac(self.chain(direction, epoch), b"\x01")

    def token(self, body: bytes, *, epoch: int, sequence: int, issued_at_us: int, **fields: int) -> bytes:
        """An authentic token with any header: fields are version, flags, operation, handle, direction
        (of the key).
        """
        head = header(
            epoch=epoch, sequence=sequence, issued_at_us=issued_at_us, **{"handle": self.handle} | fields
        )
        direction = fields.get("direction", fields.get("flags", REQUEST) & 1)
        return head + mac(self.token_key(direction, epoch), head + body)[:16]


def header(
    *,
    version: int = 1,
    flags: int = 0,
    operation: int = 0,
    epoch: int,
    handle: int,
    sequence: int,
    issued_at_us: int,
    direction: int = 0,
) -> bytes:
    return struct.pack("<BBHIQQQ", version, flags, operation, epoch, handle, sequence, issued_at_us)


@dataclass(frozen=True)
class Token:
    """A token taken apart."""

    version: int
    flags: int
    operation: int
    epoch: int
    handle: int
    sequence: int
    issued_at_us: int
    tag: bytes

    @classmethod
    def parse(cls, token: bytes) -> Token:
        return cls(*struct.unpack("<BBHIQQQ", token[:32]), token[32:])


# ---- SHA-256 from a given state (FIPS 180-4, section 6.2.2), which hashlib does not offer

_PRIMES = [p for p in range(2, 312) if all(p % d for d in range(2, p))]


def _root_bits(n: int, power: int) -> int:
    """The first 32 bits of the fractional part of a root, in integers."""
    low, high = 0, 1 << 40
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**power <= n << 32 * power else (low, middle)
    return low & 0xFFFFFFFF


_K = [_root_bits(p, 3) for p in _PRIMES]
INITIAL = tuple(_root_bits(p, 2) for p in _PRIMES[:8])


def _rotated(x: int, n: int) -> int:
    return (x >> n | x << 32 - n) & 0xFFFFFFFF


def compress(state: tuple[int, ...], block: bytes) -> tuple[int, ...]:
    w = list(struct.unpack(">16I", block))
    for i in range(16, 64):
        s0 = _rotated(w[i - 15], 7) ^ _rotated(w[i - 15], 18) ^ w[i - 15] >> 3
        s1 = _rotated(w[i - 2], 17) ^ _rotated(w[i - 2], 19) ^ w[i - 2] >> 10
        w.append((w[i - 16] + s0 + w[i - 7] + s1) & 0xFFFFFFFF)
    a, b, c, d, e, f, g, h = state
    for i in range(64):
        t1 = h + (_rotated(e, 6) ^ _rotated(e, 11) ^ _rotated(e, 25)) + (e & f ^ ~e & g) + _K[i] + w[i]
        t2 = (_rotated(a, 2) ^ _rotated(a, 13) ^ _rotated(a, 22)) + (a & b ^ a & c ^ b & c)
        a, b, c, d, e, f, g, h = (t1 + t2) & 0xFFFFFFFF, a, b, c, d + t1 & 0xFFFFFFFF, e, f, g
    return tuple(x + y & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d, e, f, g, h), strict=True))


def finished(state: tuple[int, ...], message: bytes, before: int = 0) -> bytes:
    """The digest of a message that continues ``state`` after ``before`` bytes."""
    bits = struct.pack(">Q", 8 * (before + len(message)))
    padded = message + b"\x80" + bytes((55 - len(message)) % 64) + bits
    for i in range(0, len(padded), 64):
        state = compress(state, padded[i : i + 64])
    return struct.pack(">8I", *state)


def key_states(key: bytes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """HMAC's inner and outer state under a key of up to 64 bytes: what the core keeps of it."""
    block = key.ljust(64, b"\0")
    return tuple(compress(INITIAL, bytes(x ^ pad for x in block)) for pad in (0x36, 0x5C))  # type: ignore[return-value]


def tag_under(inner: tuple[int, ...], outer: tuple[int, ...], message: bytes) -> bytes:
    return finished(outer, finished(inner, message, 64), 64)[:16]


ZERO_STATE = (0,) * 8


# ---- Replay


@dataclass
class Window:
    """What a window remembers: for each of its words a block of 32 sequences, and which were seen."""

    words: int
    blocks: dict[int, tuple[int, set[int]]] = field(default_factory=dict)

    def accepts(self, sequence: int) -> bool:
        block, seen = self.blocks.get(sequence // 32 % self.words, (0, set()))
        return sequence // 32 > block or (sequence // 32 == block and sequence not in seen)

    def take(self, sequence: int) -> bool:
        if not self.accepts(sequence):
            return False
        block, seen = self.blocks.get(sequence // 32 % self.words, (0, set()))
        kept = seen if block == sequence // 32 else set()
        self.blocks[sequence // 32 % self.words] = (sequence // 32, kept | {sequence})
        return True


# ---- Calls


@dataclass
class Rules:
    """What a grant says of one operation."""

    modes: set[str]
    max_age_us: int
    stale_ms: int | None = 0  # None: as long as the session
    ordered: bool = False
    step_up: bool = False


@dataclass
class End:
    """One end of one session: what it accepts, in the protocol's order of checks, one line each."""

    keys: Keys
    rules: dict[int, Rules]
    window: Window
    epoch_length_us: int
    grace_us: int
    expires_at_us: int
    idle_us: int
    last_accepted_us: int
    receives: int = REQUEST
    mode: str = "NORMAL"
    last_ordered: int = 0
    accepted: int = 0
    sent: int = 0
    epoch: int = 0

    def __post_init__(self) -> None:
        self.epoch = self.keys.first_epoch

    # ---- Time

    def current(self, now_us: int) -> int:
        return max(self.epoch, now_us // self.epoch_length_us)

    def is_silent_for_too_long(self, now_us: int) -> bool:
        return self.current(now_us) - self.epoch > EPOCH_STEPS_MAX

    def is_expired(self, now_us: int) -> bool:
        return now_us >= self.expires_at_us or now_us - self.last_accepted_us > self.idle_us

    def sweep(self, now_us: int) -> bool:
        """Whether the session ended by it."""
        if self.is_expired(now_us) or self.is_silent_for_too_long(now_us):
            self.mode = "FREE"
            return True
        self.epoch = self.current(now_us)
        return False

    # ---- Signing

    def sign(self, body: bytes, operation: int, now_us: int) -> bytes | None:
        """The token, or None when the session is over on this side."""
        dead = self.mode in ("FREE", "REVOKED")
        if dead or now_us >= self.expires_at_us or self.is_silent_for_too_long(now_us):
            return None
        self.epoch = self.current(now_us)
        self.sent += 1
        sends = 1 - self.receives
        fields = {"operation": operation, "flags": sends, "direction": sends}
        return self.keys.token(body, epoch=self.epoch, sequence=self.sent, issued_at_us=now_us, **fields)

    # ---- Verifying

    def verify(self, token: bytes, body: bytes, asked: int | None, now_us: int, lease_us: int | None) -> str:
        t = Token.parse(token)
        if self.mode == "FREE":
            return "UNKNOWN_SESSION"
        if self.mode == "REVOKED":
            return "REVOKED"
        if self.is_silent_for_too_long(now_us):
            return "EXPIRED"
        if not self._is_near(t.epoch, now_us):
            return "BAD_EPOCH"
        if mac(self.keys.token_key(self.receives, t.epoch), token[:32] + body)[:16] != t.tag:
            return "BAD_TAG"
        self.epoch = self.current(now_us)
        return self._decide(t, asked, now_us, lease_us)

    def _is_near(self, epoch: int, now_us: int) -> bool:
        current = self.current(now_us)
        begins, ends = current * self.epoch_length_us, (current + 1) * self.epoch_length_us
        if epoch < self.keys.first_epoch:
            return False
        if epoch == current + 1:
            return now_us + SKEW_US >= ends
        if epoch == current - 1:
            return now_us <= begins + self.grace_us
        return epoch == current

    def _decide(self, t: Token, asked: int | None, now_us: int, lease_us: int | None) -> str:
        if t.operation >= 64:  # no bitmap has a bit for it, and no table limits
            return "NOT_PERMITTED"
        rules = self.rules.get(t.operation)
        stale_ms = rules.stale_ms if rules else 0
        if lease_us is not None and stale_ms is not None and now_us > lease_us + stale_ms * 1000:
            return "STALE"
        if self.is_expired(now_us):
            return "EXPIRED"
        if rules is None or "NORMAL" not in rules.modes:
            return "NOT_PERMITTED"
        if self.mode not in rules.modes:
            return {"RESTRICTED": "STEP_UP_REQUIRED", "SUSPENDED": "REAUTH_REQUIRED"}[self.mode]
        if asked is not None and t.operation != asked:
            return "WRONG_OPERATION"
        if t.issued_at_us > now_us + SKEW_US:
            return "FROM_FUTURE"
        if now_us - t.issued_at_us > rules.max_age_us:
            return "TOO_OLD"
        if rules.step_up:
            return "STEP_UP_REQUIRED"
        if not (self._take_ordered(t.sequence) if rules.ordered else self.window.take(t.sequence)):
            return "REPLAYED"
        self.accepted += 1
        self.last_accepted_us = now_us
        return "OK"

    def _take_ordered(self, sequence: int) -> bool:
        if sequence <= self.last_ordered:
            return False
        self.last_ordered = sequence
        return True


def form_refusal(token: bytes, receives: int) -> str | None:
    """What is wrong with a token's form, before anybody is looked up."""
    if len(token) != 48:
        return "MALFORMED"
    t = Token.parse(token)
    right = t.version == 1 and t.flags == receives and 1 <= t.sequence <= SEQUENCE_MAX
    return None if right else "MALFORMED"


def self_check() -> None:
    """The compression function above is SHA-256's."""
    for message in (b"", b"abc", bytes(200)):
        assert finished(INITIAL, message) == hashlib.sha256(message).digest()
    inner, outer = key_states(b"key")
    assert tag_under(inner, outer, b"message") == mac(b"key", b"message")[:16]
