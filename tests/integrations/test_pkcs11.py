"""A key in a hardware token signs like any other, and whatever the token does, nothing wrong is let out."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.audit.sink import MemoryAudit
from ztsession.authority.changes import ChangeLog
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.rotation import Rotation
from ztsession.errors import ConfigurationError, StoreError
from ztsession.store.sqlite import SqliteStore
from ztsession.wire.signature import Signed, verify

pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
from ztsession.integrations.pkcs11 import Pkcs11Signer  # noqa: E402 - it needs what may be missing

LIBRARIES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")
LIBRARY = next((path for path in LIBRARIES if Path(path).exists()), None)
pytestmark = pytest.mark.skipif(
    LIBRARY is None or shutil.which("softhsm2-util") is None, reason="SoftHSM2 is not on this machine"
)
PIN, TOKEN = "1234-5678", "authority"
#: PrintableString "edwards25519", the curve's name in PKCS#11.
EDWARDS25519 = b"\x13\x0cedwards25519"


class Tokens:
    """The software token of this module, with three key pairs: "root", "signing" and "next"."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "tokens").mkdir()
        (directory / "softhsm2.conf").write_text(
            f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        # Read once, when the library is first loaded into this process.
        os.environ["SOFTHSM2_CONF"] = str(directory / "softhsm2.conf")
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--so-pin", PIN, "--pin", PIN],
            check=True,
            capture_output=True,
        )
        for label in ("root", "signing", "next", "twin", "twin"):
            self.make(label)

    def make(self, label: str) -> None:
        from pkcs11 import Attribute, KeyType, Mechanism

        with self.session() as session:
            curve = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: EDWARDS25519}, local=True
            )
            curve.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, store=True, label=label)

    def session(self) -> Any:
        return pkcs11.lib(LIBRARY).get_token(token_label=TOKEN).open(user_pin=PIN, rw=True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tokens]:
    before = os.environ.get("SOFTHSM2_CONF")
    yield Tokens(tmp_path_factory.mktemp("softhsm"))
    os.environ.pop("SOFTHSM2_CONF")
    if before is not None:
        os.environ["SOFTHSM2_CONF"] = before


def signer(label: str = "signing", **options: Any) -> Pkcs11Signer:
    assert LIBRARY is not None
    return Pkcs11Signer(LIBRARY, **{"token": TOKEN, "label": label, "pin": lambda: PIN, **options})


@pytest.fixture
def signing(tokens: Tokens) -> Iterator[Pkcs11Signer]:
    with signer() as opened:
        yield opened


def test_a_token_signs_what_everybody_verifies(signing: Pkcs11Signer):
    """Its signatures hold under its public key, for messages of any length, and in an envelope."""
    for size in (0, 1, 32, 5000):
        message = os.urandom(size)
        verify(signing.public_key, message, signing.sign(message))
    assert Signed.make(signing, "label", b"body").check(signing.public_key, "label") == b"body"
    with signer(public_key=signing.public_key) as again:
        assert again.sign(b"") == signing.sign(b"")


def test_the_private_key_cannot_be_had(signing: Pkcs11Signer):
    """The token does not hand its key out, not even to whoever holds the PIN."""
    from pkcs11 import Attribute, ObjectClass

    key = signing._session.get_key(object_class=ObjectClass.PRIVATE_KEY, label="signing")
    assert (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) == (True, False)
    assert PIN not in repr(signing) + str(signing)


def test_a_lost_session_is_opened_again(signing: Pkcs11Signer):
    """Closed under its feet, logged out by somebody else, closed by its owner: the next message is signed."""
    first = signing.sign(b"message")
    signing._session.close()
    assert signing.sign(b"message") == first
    with signer("root"):
        pass  # who leaves logs the whole process out
    assert signing.sign(b"message") == first
    signing.close()
    signing.close()
    assert signing.sign(b"message") == first


def test_threads_share_a_token(signing: Pkcs11Signer):
    """However many want to sign at once, the token has one of them, and each gets its own signature."""
    failed, inside, most = list[Exception](), list[int](), list[int]()

    class Watched:
        def __init__(self, key: Any) -> None:
            self.key = key

        def sign(self, message: bytes, **options: Any) -> bytes:
            inside.append(1)
            time.sleep(0.0005)
            most.append(len(inside))
            signature: bytes = self.key.sign(message, **options)
            inside.pop()
            return signature

    signing._key = Watched(signing._key)

    def work(number: int) -> None:
        try:
            for count in range(20):
                message = bytes([number, count])
                verify(signing.public_key, message, signing.sign(message))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert max(most) == 1


def test_a_wrong_signature_is_not_let_out(signing: Pkcs11Signer):
    """A token that errs gives an error: a faulty Ed25519 signature may tell its key."""

    class Faulty:
        def __init__(self, key: Any) -> None:
            self.key = key

        def sign(self, message: bytes, **options: Any) -> bytes:
            signature = self.key.sign(message, **options)
            return bytes([signature[0] ^ 1]) + signature[1:]

    assert signing.sign(b"message")
    signing._key = Faulty(signing._key)
    with pytest.raises(StoreError, match="gave a wrong signature"):
        signing.sign(b"message")
    signing.close()
    assert signing.sign(b"message")


def test_a_token_that_holds_another_key_meanwhile_signs_nothing(signing: Pkcs11Signer):
    """What was announced is the key of the beginning: after a reconnection it must be that one still."""
    signing.close()
    signing._label = "next"
    with pytest.raises(StoreError, match="is another key than before"):
        signing.sign(b"message")
    signing._label = "signing"
    assert signing.sign(b"message")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label": "no such key"}, "expected one Ed25519 key pair with this label"),
        ({"label": "twin"}, "expected one Ed25519 key pair with this label"),
        ({"token": "no such token"}, "expected one such token"),
        ({"public_key": b"p" * 32}, "its public key is [0-9a-f]{64}, expected 7070"),
    ],
)
def test_what_is_not_there_is_told(tokens: Tokens, options: dict[str, Any], says: str):
    """A label that is none or two, a token that is none, another key than expected: each in a sentence."""
    with pytest.raises(ConfigurationError, match=says):
        signer(**options)
    with signer() as good:
        assert good.sign(b"message")


def test_a_module_that_is_none_is_told(tokens: Tokens):
    """A path that leads to no PKCS#11 module is an error of ours, not of the loader."""
    with pytest.raises(StoreError, match="does not answer"):
        Pkcs11Signer("/nowhere/token.so", token=TOKEN, label="signing", pin=lambda: PIN)


def test_a_refused_pin_is_not_tried_again(tokens: Tokens):
    """A token locks itself after a few wrong PINs: one is enough for this signer to stop asking."""
    asked, pins = list[str](), [PIN, "wrong-pin", PIN]

    def pin() -> str:
        asked.append(pins[len(asked)])
        return asked[-1]

    with pytest.raises(ConfigurationError, match="its PIN was refused"):
        signer(pin=lambda: "wrong-pin")
    once = signer(pin=pin)
    once.close()
    for _ in range(3):
        with pytest.raises(StoreError, match=r"its PIN was refused"):
            once.sign(b"message")
    assert asked == [PIN, "wrong-pin"]
    with signer() as good:
        assert good.sign(b"message")


def test_an_authority_whose_keys_are_in_a_token(house: Any, tokens: Tokens):
    """Root and signing key in the token: certificates, tickets and feed answers hold from end to end."""
    with signer("root") as root, signer() as signing:
        authority = house.authority(signers=[signing], root_signer=root)
        assert (authority.root, authority.ticket_key) == (root.public_key, signing.public_key)
        assert (authority.keys.ring.root_seed, authority.keys.ring.signing[0].seed) == (b"", b"")
        point = house.point(authority)
        orders = house.connect(authority).install(point, "orders")
        assert point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")
        assert point.maintain()
        signing.close()
        signing._refused = True  # as after a PIN that was changed
        with pytest.raises(zts.errors.HandshakeError):
            house.connect(authority)
        assert not point.maintain()
        assert len(authority.sessions()) == 1
        signing._refused = False
        assert house.connect(authority)
        assert point.maintain()


def test_a_signing_key_moves_into_a_token(tmp_path: Path, signing: Pkcs11Signer):
    """Staged, activated, and the seed before it retired: nothing to sign with is left on the disk."""
    keys = AuthorityKeys.open(tmp_path)
    with SqliteStore(tmp_path / "authority.sqlite") as store:
        rotation = Rotation(keys, ChangeLog(store, keys.signing), MemoryAudit())
        assert rotation.stage_signing_key(signer=signing) == signing.public_key
        rotation.activate_signing_key(overlap_s=0)
        rotation.retire_signing_key(overlap_s=0)
    verify(signing.public_key, b"message", keys.signing.sign(b"message"))
    again = AuthorityKeys.open(tmp_path, signers=[signing])
    assert (again.signing_public, [key.seed for key in again.ring.signing]) == (signing.public_key, [b""])
    with pytest.raises(ConfigurationError, match="is kept elsewhere: give its Signer"):
        AuthorityKeys.open(tmp_path)
