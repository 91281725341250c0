"""A Signer whose key is in a hardware token and never leaves it, spoken to over PKCS#11 (version 3, EDDSA).

    signer = Pkcs11Signer(
        "/usr/lib/softhsm/libsofthsm2.so", token="authority", label="signing", pin=ask_for_it
    )
    AuthorityKeys.open(directory, signers=[signer])

Whoever takes over the process can then have things signed for as long as he stays, and takes no key with him.

A token is hardware: it is pulled out, it forgets sessions, and it can be made to err. One wrong Ed25519
signature can give away the key that made it, so none is let out that does not hold. And tokens lock
themselves after a few wrong PINs, so a PIN that was refused is not tried again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from ztsession.errors import ConfigurationError, EvidenceError, StoreError
from ztsession.wire.signature import PUBLIC_KEY_BYTES, check_public_key, verify

__all__ = ["Pkcs11Signer"]

#: DER of an OCTET STRING and of a BIT STRING of 32 bytes: tokens wrap the public key in one or in none.
_WRAPPED: Final = (b"\x04\x20", b"\x03\x21\x00", b"")


class Pkcs11Signer:
    """An Ed25519 key of a token. Thread-safe: a token signs one message at a time. Not to be used after a
    fork.
    """

    def __init__(
        self,
        library: str | os.PathLike[str],
        *,
        token: str,
        label: str,
        pin: Callable[[], str],
        public_key: bytes | None = None,
    ) -> None:
        """Log in and find the key pair: ``library`` is the token's PKCS#11 module, ``token`` and ``label``
        are the labels of the token and of both keys, and ``pin()`` gives the user's PIN whenever a login is
        due.

        ``public_key`` (32 bytes) says which key is expected. ConfigurationError when there is no such
        token, key or PIN, or another public key; StoreError when the token does not answer.
        """
        self._library, self._token, self._label, self._pin = os.fspath(library), token, label, pin
        self._lock = threading.Lock()
        self._session: Any = None
        self._key: Any = None
        self._refused = False
        with self._lock:
            found = self._open(first=True)
        if public_key is not None and found != public_key:
            self.close()
            raise ConfigurationError(
                f"{self}: its public key is {found.hex()}, expected {public_key.hex()}: another key pair "
                "has its label"
            )
        self._public_key = found

    def __str__(self) -> str:
        return f"key {self._label!r} in token {self._token!r}"

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return self._public_key

    def sign(self, message: bytes) -> bytes:
        """Return the token's signature of ``message``, 64 bytes, after it was verified here.

        A session that was lost is opened again, once. StoreError when the token does not sign, or its
        signature does not hold.
        """
        with self._lock:
            signature = self._signed(message)
        try:
            verify(self._public_key, message, signature)
        except EvidenceError as error:
            raise StoreError(f"{self}: gave a wrong signature: {error}") from None
        return signature

    def close(self) -> None:
        """Log out; signing logs in again."""
        with self._lock:
            self._drop()

    def __enter__(self) -> Self:
        """The signer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _signed(self, message: bytes) -> bytes:
        from pkcs11.exceptions import PKCS11Error

        try:
            try:
                return self._sign(message)
            except PKCS11Error:
                self._drop()
                return self._sign(message)
        except (PKCS11Error, ConfigurationError) as error:
            self._drop()
            raise StoreError(f"{self}: does not sign: {_named(error)}") from None

    def _sign(self, message: bytes) -> bytes:
        from pkcs11 import Mechanism

        if self._session is None and self._open(first=False) != self._public_key:
            self._drop()
            raise StoreError(f"{self}: is another key than before")
        return bytes(self._key.sign(message, mechanism=Mechanism.EDDSA))

    def _open(self, *, first: bool) -> bytes:
        """Log in and find the keys; the public one's 32 bytes."""
        from pkcs11 import Attribute, ObjectClass
        from pkcs11.exceptions import PKCS11Error

        try:
            self._session = self._login()
            self._key = self._only(ObjectClass.PRIVATE_KEY)
            return self._point(bytes(self._only(ObjectClass.PUBLIC_KEY)[Attribute.EC_POINT]))
        except ConfigurationError:
            self._drop()
            raise
        except PKCS11Error as error:
            self._drop()
            if first:
                raise StoreError(f"{self}: the token does not answer: {_named(error)}") from None
            raise

    def _only(self, kind: Any) -> Any:
        from pkcs11 import Attribute, KeyType

        wanted = {
            Attribute.CLASS: kind,
            Attribute.KEY_TYPE: KeyType.EC_EDWARDS,
            Attribute.LABEL: self._label,
        }
        found = list(self._session.get_objects(wanted))
        if len(found) != 1:
            raise ConfigurationError(
                f"{self}: expected one Ed25519 key pair with this label, not {len(found)}"
            )
        return found[0]

    def _login(self) -> Any:
        from pkcs11 import exceptions, lib

        if self._refused:
            raise ConfigurationError(f"{self}: its PIN was refused and is not tried again: start anew")
        try:
            found = lib(self._library).get_token(token_label=self._token)
        except (exceptions.NoSuchToken, exceptions.MultipleTokensReturned) as error:
            raise ConfigurationError(f"{self}: expected one such token: {_named(error)}") from None
        try:
            return found.open(user_pin=self._pin())
        except exceptions.UserAlreadyLoggedIn:
            # By another signer of this process: who is logged in is a matter of the whole process.
            return found.open()
        except (
            exceptions.PinIncorrect,
            exceptions.PinInvalid,
            exceptions.PinLenRange,
            exceptions.PinExpired,
            exceptions.PinLocked,
        ) as error:
            self._refused = True
            raise ConfigurationError(f"{self}: its PIN was refused: {_named(error)}") from None

    def _point(self, encoded: bytes) -> bytes:
        for wrapped in _WRAPPED:
            key = encoded.removeprefix(wrapped)
            if len(key) == PUBLIC_KEY_BYTES and len(encoded) == len(wrapped) + PUBLIC_KEY_BYTES:
                try:
                    check_public_key(key)
                except EvidenceError as error:
                    raise ConfigurationError(f"{self}: {error}") from None
                return key
        raise ConfigurationError(f"{self}: its public key is not an Ed25519 key")

    def _drop(self) -> None:
        from pkcs11.exceptions import PKCS11Error

        session, self._session, self._key = self._session, None, None
        if session is not None:
            with suppress(PKCS11Error):
                session.close()


def _named(error: Exception) -> str:
    # Most of them have a telling name and no text.
    return f"{type(error).__name__} {error}".strip()
