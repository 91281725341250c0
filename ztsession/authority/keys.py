"""The Authority's own keys, made when its state is first opened and kept in one sealed file.

root       signs certificates; clients pin its public half
static     X25519 of the handshake, certified by the root
signing    Ed25519 over tickets and feed answers; enforcement points pin its public half
sealing    what the Authority itself keeps for others is encrypted under keys from this one
segments   HPKE key pairs; a segment's own is exported to be handed to that segment's enforcement points

Nothing of it is written in the clear but what is exported. ``keys.sealed`` opens with a passphrase or a key
file (:class:`~ztsession.wire.sealed_file.Unlock`); root and signing may also be kept by a Signer elsewhere,
in a hardware token, and are then known here by their public halves alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from ztsession.authority.keyring import CURRENT, OLD, Keyring, SigningKey
from ztsession.authority.plaintext import PLAIN_FILE, belongs_to, taken_over
from ztsession.errors import ConfigurationError, StoreError, WireError
from ztsession.handshake.keys import DhKeyPair
from ztsession.hazmat import hmac_sha256
from ztsession.identity import certificate
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire import durable
from ztsession.wire.digest import digest
from ztsession.wire.sealed_file import SealedFile, Unlock
from ztsession.wire.signature import SeedSigner, Signer

__all__ = ["KEYS_FILE", "AuthorityKeys"]

CERTIFICATE_S: Final = 30 * 86400
#: Where the sealed keys are in a state directory.
KEYS_FILE: Final = "keys.sealed"
_PURPOSE: Final = "authority keys"


class AuthorityKeys:
    """All keys of one Authority. Thread-safe; what changes is on the disk before it is used."""

    def __init__(
        self,
        directory: Path,
        file: SealedFile,
        ring: Keyring,
        signers: Sequence[Signer],
        root: Signer,
        clock: Callable[[], float],
    ) -> None:
        """Use :meth:`open`."""
        self.directory, self._file, self._ring, self._clock = directory, file, ring, clock
        self._changing, self._making = threading.Lock(), threading.Lock()
        self._root: Final = root
        self._signers = {signer.public_key: signer for signer in signers}
        #: Signs with the key that is current at that moment.
        self.signing: Final[Signer] = _Current(self)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        unlock: Unlock | None = None,
        signers: Sequence[Signer] = (),
        root_signer: Signer | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the keys of a state directory, or make them on first use.

        ``unlock``: what opens them, :meth:`Unlock.default` if not given. ``signers``: the signing keys that
        are kept elsewhere; of new keys the only one is taken as the current one. ``root_signer``: the root
        that is kept elsewhere. ConfigurationError says what does not fit and what to do; StoreError when the
        directory cannot be written.
        """
        directory, unlock = Path(directory), unlock or Unlock.default(directory)
        try:
            for made in (directory, directory / "segments"):
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            with durable.locked(directory):
                durable.sweep(directory)
                durable.sweep(directory / "segments")
                file, ring = _opened(directory, unlock, signers, root_signer, int(clock()))
        except OSError as error:
            raise StoreError(f"{directory}: cannot be written: {error.strerror}") from error
        keys = cls(directory, file, ring, signers, _root(ring, root_signer), clock)
        keys._check_signers()
        return keys

    @property
    def ring(self) -> Keyring:
        """All keys as they stand now."""
        return self._ring

    def update(self, step: Callable[[Keyring], Keyring]) -> Keyring:
        """Take one step of a rotation: durable and in force when this returns, or nothing has changed.

        ``step`` is given what is on the disk. StoreError if it cannot be written.
        """
        with self._alone():
            # From the disk: the command line may have taken a step since.
            ring = step(_ring(self._file, self._file.read()))
            self._file.replace(ring.to_bytes())
            self._ring = ring
            return ring

    def reseal(self, unlock: Unlock) -> None:
        """Make the keys open with ``unlock`` from now on, and with nothing else."""
        with self._alone():
            self._file = self._file.resealed(unlock, self._file.read())

    # ---- Root and handshake

    @property
    def root_public(self) -> bytes:
        """What clients pin, 32 bytes."""
        return self._ring.root_public

    @property
    def static(self) -> bytes:
        """The private static key that new handshakes are answered with, 32 bytes."""
        return self._ring.static[0].private

    @property
    def static_public(self) -> bytes:
        """Its public half, 32 bytes."""
        return DhKeyPair(self.static).public

    def statics(self, now: float) -> tuple[bytes, ...]:
        """Every private static key that a renewal may still be addressed to at ``now``, newest first."""
        return tuple(key.private for key in self._ring.static if not key.until or now < key.until)

    def certificate(self, name: str, now: float, *, static: bytes | None = None) -> bytes:
        """A certificate over a static key (the newest if none is given), valid from one hour before ``now``
        (Unix seconds) for thirty days.
        """
        static_public = DhKeyPair(static or self.static).public
        return certificate.issue(self._root, static_public, name, int(now) - 3600, int(now) + CERTIFICATE_S)

    # ---- Signing

    @property
    def signing_public(self) -> bytes:
        """What enforcement points pin, 32 bytes."""
        return self._current().public

    def keeps(self, signer: Signer) -> None:
        """Know one more Signer, whose key is to be staged."""
        self._signers[signer.public_key] = signer

    # ---- Sealing

    def sealing(self, purpose: str) -> bytes:
        """32 bytes to encrypt under for one purpose, the same every time; never for another purpose."""
        return hmac_sha256(self._ring.sealing, digest("authority sealing", purpose.encode()))

    # ---- Segments

    def segment(self, name: str) -> SegmentKey:
        """The key pair that tickets for a segment are sealed to, made on first use."""
        if name not in self._ring.segments:
            with self._making:
                if name not in self._ring.segments:
                    self.update(lambda ring: ring.with_first_segment(name, int(self._clock())))
        return self._ring.segment(name, CURRENT).key

    def segment_keys(self, name: str) -> tuple[SegmentKey, ...]:
        """Every key pair that a segment's tickets may be sealed to: old, current, and next."""
        self.segment(name)
        return tuple(pair.key for pair in self._ring.segments[name])

    def segment_path(self, name: str, key: SegmentKey | None = None) -> Path:
        """Where :meth:`export_segment` writes this key pair, the current one if none is given."""
        key_id = (key or self.segment(name)).public.key_id
        return self.directory / "segments" / f"{name}.{key_id.hex()}.toml"

    def export_segment(self, name: str, key: SegmentKey | None = None) -> Path:
        """Write a segment's key pair (the current one) to a file of mode 0600, to be handed to its
        enforcement points; the same file every time. It holds the key in the clear: remove it once it is
        there.
        """
        key = key or self.segment(name)
        path = self.segment_path(name, key)
        # Alone: another process that opens these keys sweeps away what is half written.
        with self._alone():
            if not path.exists():
                key.to_file(path)
        if SegmentKey.from_file(path) != key:
            raise ConfigurationError(f"is not the key of segment {name!r}: remove it", file=str(path))
        return path

    def remove_export(self, name: str, key: SegmentKey) -> None:
        """Remove the file that :meth:`export_segment` wrote, if it is there; StoreError if that fails."""
        path = self.segment_path(name, key)
        try:
            durable.remove(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be removed: {error.strerror}") from error

    def _current(self) -> SigningKey:
        return self._ring.signing_key(CURRENT)

    def _signer(self) -> Signer:
        key = self._current()
        signer = self._signers.get(key.public)
        if signer is None:
            signer = self._signers[key.public] = SeedSigner(key.seed)
        return signer

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            with self._changing, durable.locked(self.directory):
                yield
        except OSError as error:
            raise StoreError(f"{self.directory}: cannot be locked: {error.strerror}") from error

    def _check_signers(self) -> None:
        known = {key.public for key in self._ring.signing}
        for key in self._ring.signing:
            if not key.seed and key.public not in self._signers and key.state != OLD:
                raise ConfigurationError(
                    f"the {key.state} signing key {key.public.hex()} is kept elsewhere: give its Signer"
                )
        for public in self._signers.keys() - known:
            raise ConfigurationError(
                f"the Signer's key {public.hex()} is none of this Authority's: open without it, and stage it"
            )


@dataclass(frozen=True)
class _Current:
    """The Signer that is current when it is asked, across an activation."""

    _keys: AuthorityKeys

    @property
    def public_key(self) -> bytes:
        """The public key of now."""
        return self._keys.signing_public

    def sign(self, message: bytes) -> bytes:
        """Sign with the key of now."""
        return self._keys._signer().sign(message)


def _opened(
    directory: Path, unlock: Unlock, signers: Sequence[Signer], root: Signer | None, now: int
) -> tuple[SealedFile, Keyring]:
    path, plain = directory / KEYS_FILE, directory / PLAIN_FILE
    if path.exists():
        file, content = SealedFile.open(path, _PURPOSE, unlock)
        ring = _ring(file, content)
    else:
        ring = taken_over(directory, now) if plain.exists() else _made(signers, root, now)
        file = SealedFile.create(path, _PURPOSE, unlock, ring.to_bytes())
    if plain.exists():
        # Also after a crash between the two files; never one that says something else.
        belongs_to(plain, ring)
        durable.remove(plain)
    return file, ring


def _made(signers: Sequence[Signer], root: Signer | None, now: int) -> Keyring:
    if len(signers) > 1:
        raise ConfigurationError("new keys take one Signer: the others are staged later")
    signing = signers[0].public_key if signers else b""
    return Keyring.fresh(now, root=root.public_key if root else b"", signing=signing)


def _ring(file: SealedFile, content: bytes) -> Keyring:
    try:
        return Keyring.from_bytes(content)
    except WireError as error:
        # It opened, so nobody changed it: another version wrote it.
        raise ConfigurationError(f"is of another version: {error}", file=str(file.path)) from None


def _root(ring: Keyring, given: Signer | None) -> Signer:
    if given is not None:
        if given.public_key != ring.root_public:
            raise ConfigurationError(
                f"the root Signer's key is {given.public_key.hex()}, expected {ring.root_public.hex()}, "
                "which clients pin"
            )
        return given
    if not ring.root_seed:
        raise ConfigurationError(f"the root {ring.root_public.hex()} is kept elsewhere: give its Signer")
    return SeedSigner(ring.root_seed)
