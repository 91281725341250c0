"""The Authority's keys: made once, sealed, taken over from older files, and there in full after any crash."""

from __future__ import annotations

import base64
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.keyring import Keyring
from ztsession.authority.keys import AuthorityKeys
from ztsession.errors import ConfigurationError, StoreError
from ztsession.handshake.keys import DhKeyPair
from ztsession.identity import certificate
from ztsession.tickets import SegmentKey
from ztsession.wire.operator_file import write_private
from ztsession.wire.sealed_file import Unlock
from ztsession.wire.signature import SeedSigner, verify

NOW = 1_900_000_000
PHRASE = "correct horse battery staple"


def phrase(text: str = PHRASE) -> Unlock:
    return Unlock.passphrase(text, memory_mib=64)


def plain(directory: Path) -> dict[str, bytes]:
    """The files of an Authority from before its keys were sealed."""
    seeds = {name: name[:1].encode() * 32 for name in ("root", "static", "signing")}
    seeds["signing"] = b"g" * 32
    (directory / "segments").mkdir(parents=True)
    write_private(
        directory / "keys.toml", "".join(f'{name} = "{seed.hex()}"\n' for name, seed in seeds.items())
    )
    SegmentKey("orders", b"k" * 64, b"d" * 32).to_file(directory / "segments" / "orders.toml")
    return seeds


def spellings(secret: bytes) -> Iterator[bytes]:
    """A secret as it could stand in a file: plainly, in hexadecimal, in base64 at each of three places."""
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode())
    for shift in range(3):
        yield base64.b64encode(bytes(shift) + secret)[4:-4]


def secrets_of(keys: AuthorityKeys) -> list[bytes]:
    ring = keys.ring
    pairs = [pair.key for pairs in ring.segments.values() for pair in pairs]
    seeds = [ring.root_seed, ring.sealing, *(key.private for key in ring.static)]
    seeds += [key.seed for key in ring.signing]
    return [seed for seed in [*seeds, *(p.seed for p in pairs), *(p.x25519 for p in pairs)] if seed]


def test_keys_are_made_once(tmp_path: Path):
    """What the first opening made, every later one finds."""
    first = AuthorityKeys.open(tmp_path)
    orders = first.segment("orders")
    again = AuthorityKeys.open(tmp_path)
    assert (again.ring, again.segment("orders")) == (first.ring, orders)
    assert again.segment_keys("orders") == (orders,)
    said = certificate.verify(
        again.certificate("authority", NOW), first.root_public, again.static_public, NOW
    )
    assert said.name == "authority"
    verify(first.signing_public, b"message", again.signing.sign(b"message"))
    assert again.signing.public_key == first.signing_public


def test_a_state_that_is_made_is_for_its_owner_alone(tmp_path: Path):
    """Nobody else may even list what lies in it; a directory that is there stays as the operator has it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o750)
    for directory, mode in ((tmp_path / "made", 0o700), (theirs, 0o750)):
        AuthorityKeys.open(directory)
        assert stat.S_IMODE(directory.stat().st_mode) == mode


def test_A13_no_secret_lies_in_the_state_directory(house: Any):
    """After sessions, rotations and whatever else, no file holds a byte string from which a key is made.

    Only the file that opens the keys does, and a segment's file that was asked for.
    """
    authority = house.authority()
    session = house.connect(authority)
    assert session.install(house.point(authority), "orders")
    authority.keys.update(lambda ring: ring.with_new_static(NOW, 60).with_new_signing(NOW))
    authority.close()
    secrets = secrets_of(authority.keys)
    assert len(secrets) == 10
    files = {path: path.read_bytes() for path in house.state.rglob("*") if path.is_file()}
    assert {"keys.sealed", "authority.sqlite", "audit.jsonl", "unlock.key"} <= {path.name for path in files}
    found = [path for path, data in files.items() for s in secrets for text in spellings(s) if text in data]
    assert found == []
    # The search does find: an exported file holds its key in the clear.
    exported = authority.keys.export_segment("orders").read_bytes()
    assert any(text in exported for text in spellings(authority.keys.segment("orders").seed))


def test_secrets_do_not_show_in_a_repr(tmp_path: Path):
    """No key prints itself, alone or in the whole."""
    keys = AuthorityKeys.open(tmp_path)
    keys.segment("orders")
    shown = repr(keys) + repr(keys.ring) + repr(keys.signing) + repr(keys._file) + repr(keys._root)
    for secret in secrets_of(keys):
        assert secret.hex() not in shown
        assert repr(secret) not in shown


def test_a_passphrase_opens_the_keys(tmp_path: Path):
    """With the passphrase there is no key file; without it there are no keys."""
    keys = AuthorityKeys.open(tmp_path, unlock=phrase())
    keys.segment("orders")
    assert not (tmp_path / "unlock.key").exists()
    assert AuthorityKeys.open(tmp_path, unlock=phrase()).ring == keys.ring
    with pytest.raises(ConfigurationError, match="passphrase is another one"):
        AuthorityKeys.open(tmp_path, unlock=phrase("wrong horse battery staple"))
    with pytest.raises(ConfigurationError, match="give the passphrase"):
        AuthorityKeys.open(tmp_path)
    assert not (tmp_path / "unlock.key").exists()


def test_a_key_file_may_be_kept_elsewhere(tmp_path: Path):
    """Whoever copies the state directory does not have the key file with it."""
    unlock = Unlock.make_key_file(tmp_path / "mounted.key")
    keys = AuthorityKeys.open(tmp_path / "state", unlock=unlock)
    assert AuthorityKeys.open(tmp_path / "state", unlock=unlock).ring == keys.ring
    assert not (tmp_path / "state" / "unlock.key").exists()
    with pytest.raises(ConfigurationError, match="bring it back"):
        AuthorityKeys.open(tmp_path / "state")


def test_keys_are_sealed_anew(tmp_path: Path):
    """From the key file to a passphrase, with the same keys, also for a rotation that comes after."""
    keys = AuthorityKeys.open(tmp_path)
    keys.reseal(phrase())
    keys.update(lambda ring: ring.with_new_static(NOW, 60))
    assert AuthorityKeys.open(tmp_path, unlock=phrase()).ring == keys.ring
    with pytest.raises(ConfigurationError, match="give the passphrase"):
        AuthorityKeys.open(tmp_path)


def test_damaged_keys_do_not_open(tmp_path: Path):
    """A file that was cut short or emptied is told, and never replaced by new keys."""
    AuthorityKeys.open(tmp_path)
    path = tmp_path / "keys.sealed"
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole.replace(b"sealed-1", b"sealed-9")):
        path.write_bytes(damaged)
        with pytest.raises(ConfigurationError, match=r"keys\.sealed"):
            AuthorityKeys.open(tmp_path)
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    assert AuthorityKeys.open(tmp_path)


def test_a_state_that_cannot_be_written_is_told(tmp_path: Path):
    """Keys that could not be kept are not used."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        AuthorityKeys.open(tmp_path / "state")


def test_each_purpose_has_a_sealing_key_of_its_own(tmp_path: Path):
    """The same purpose gives the same 32 bytes after a restart and another purpose others."""
    keys, again = (AuthorityKeys.open(tmp_path) for _ in range(2))
    assert keys.sealing("mfa") == again.sealing("mfa")
    assert len({keys.sealing("mfa"), keys.sealing("mf"), keys.ring.sealing}) == 3
    assert len(keys.sealing("mfa")) == 32


def test_the_segment_file_is_written_when_it_is_asked_for(tmp_path: Path):
    """Exported once, the file is the key's and stays; one that lies there in its place is refused."""
    keys = AuthorityKeys.open(tmp_path)
    orders = keys.segment("orders")
    assert list((tmp_path / "segments").iterdir()) == []
    path = keys.export_segment("orders")
    assert keys.export_segment("orders") == path
    assert SegmentKey.from_file(path) == orders
    path.unlink()
    SegmentKey.generate("orders").to_file(path)
    with pytest.raises(ConfigurationError, match="is not the key of segment 'orders': remove it"):
        keys.export_segment("orders")


# ---- Keys from before


def test_plain_keys_are_taken_over_and_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Root, static, signing and the segments stay what they were, and lie there in the clear no more."""
    seeds = plain(tmp_path)
    keys = AuthorityKeys.open(tmp_path)
    assert keys.root_public == SeedSigner(seeds["root"]).public_key
    assert keys.signing_public == SeedSigner(seeds["signing"]).public_key
    assert keys.static == seeds["static"]
    assert keys.segment("orders") == SegmentKey("orders", b"k" * 64, b"d" * 32)
    assert not (tmp_path / "keys.toml").exists()
    assert "rotate them" in caplog.text
    assert AuthorityKeys.open(tmp_path).ring == keys.ring
    assert seeds["root"].hex().encode() not in (tmp_path / "keys.sealed").read_bytes()


def test_plain_keys_that_were_sealed_already_are_removed(tmp_path: Path):
    """After a crash between sealing and removing, the next opening removes; other keys are not touched."""
    plain(tmp_path)
    text = (tmp_path / "keys.toml").read_text()
    keys = AuthorityKeys.open(tmp_path)
    write_private(tmp_path / "keys.toml", text)
    assert AuthorityKeys.open(tmp_path).ring == keys.ring
    assert not (tmp_path / "keys.toml").exists()
    write_private(tmp_path / "keys.toml", text.replace((b"r" * 32).hex(), (b"q" * 32).hex()))
    with pytest.raises(ConfigurationError, match=r"holds other keys than keys\.sealed"):
        AuthorityKeys.open(tmp_path)
    assert (tmp_path / "keys.toml").exists()


@pytest.mark.parametrize("damage", ["root", "extra", "segment"])
def test_damaged_plain_keys_are_not_taken_over(tmp_path: Path, damage: str):
    """A file that does not hold all of it is told, and nothing is sealed or removed."""
    plain(tmp_path)
    path = tmp_path / "keys.toml"
    if damage == "segment":
        SegmentKey("md", b"k" * 64, b"d" * 32).to_file(tmp_path / "segments" / "risk.toml")
    else:
        path.write_text(path.read_text().replace("root", "boot") if damage == "root" else "x = 1")
    with pytest.raises(ConfigurationError):
        AuthorityKeys.open(tmp_path)
    assert path.exists()
    assert not (tmp_path / "keys.sealed").exists()


# ---- Keys that are kept elsewhere


def test_signing_and_root_may_be_kept_elsewhere(tmp_path: Path):
    """With Signers for both, the keyring knows their public halves alone, and asks for them."""
    root, signing = SeedSigner(b"r" * 32), SeedSigner(b"s" * 32)
    keys = AuthorityKeys.open(tmp_path, signers=[signing], root_signer=root)
    assert (keys.root_public, keys.signing_public) == (root.public_key, signing.public_key)
    assert (keys.ring.root_seed, keys.ring.signing[0].seed) == (b"", b"")
    verify(signing.public_key, b"message", keys.signing.sign(b"message"))
    assert certificate.verify(keys.certificate("a", NOW), root.public_key, keys.static_public, NOW)
    assert AuthorityKeys.open(tmp_path, signers=[signing], root_signer=root).ring == keys.ring
    with pytest.raises(ConfigurationError, match=r"signing key .* is kept elsewhere: give its Signer"):
        AuthorityKeys.open(tmp_path, root_signer=root)
    with pytest.raises(ConfigurationError, match=r"the root .* is kept elsewhere: give its Signer"):
        AuthorityKeys.open(tmp_path, signers=[signing])
    other = SeedSigner(b"o" * 32)
    with pytest.raises(ConfigurationError, match="which clients pin"):
        AuthorityKeys.open(tmp_path, signers=[signing], root_signer=other)
    with pytest.raises(ConfigurationError, match="is none of this Authority's: open without it"):
        AuthorityKeys.open(tmp_path, signers=[signing, other], root_signer=root)


def test_new_keys_take_one_signer(tmp_path: Path):
    """Which of two would be the current one is not guessed."""
    with pytest.raises(ConfigurationError, match="take one Signer"):
        AuthorityKeys.open(tmp_path, signers=[SeedSigner(b"a" * 32), SeedSigner(b"b" * 32)])
    assert not (tmp_path / "keys.sealed").exists()


# ---- The keyring


def test_the_keyring_reads_back_and_keeps_its_rules(tmp_path: Path):
    """What was written is read; a keyring without exactly one current key is none."""
    ring = Keyring.fresh(NOW).with_first_segment("orders", NOW).with_new_segment("orders", NOW)
    ring = ring.with_new_static(NOW, 60).with_new_signing(NOW)
    assert Keyring.from_bytes(ring.to_bytes()) == ring
    assert ring.with_first_segment("orders", NOW) == ring
    for broken in (
        lambda: ring.without_signing(ring.signing[0].public),
        lambda: ring.with_signing_activated(NOW),
        lambda: Keyring.fresh(NOW).with_signing_activated(NOW),
    ):
        with pytest.raises(ConfigurationError, match="exactly one current key"):
            broken()
    for _ in range(6):
        ring = ring.with_new_static(NOW, 60)
    with pytest.raises(ConfigurationError, match="at most 8 keys"):
        ring.with_new_static(NOW, 60)


def test_a_static_key_is_usable_until_its_overlap_ends(tmp_path: Path):
    """Newest first, each old one for as long as it was said and never for longer."""
    keys = AuthorityKeys.open(tmp_path)
    first = keys.static
    keys.update(lambda ring: ring.with_new_static(NOW, 100))
    second = keys.static
    assert keys.statics(NOW + 99.9) == (second, first)
    assert keys.statics(NOW + 100) == (second,)
    keys.update(lambda ring: ring.with_new_static(NOW + 10, 1000))
    assert keys.statics(NOW + 99.9) == (keys.static, second, first)
    assert keys.statics(NOW + 100) == (keys.static, second)
    keys.update(lambda ring: ring.with_new_static(NOW + 20, 0))
    assert keys.statics(NOW + 20) == (keys.static,)
    assert len(keys.ring.static) == 1
    assert keys.static_public == DhKeyPair(keys.static).public


def test_two_openings_of_one_directory_do_not_undo_each_other(tmp_path: Path):
    """Each step is taken from what is on the disk, also by a process that has not seen the one before."""
    one, other = (AuthorityKeys.open(tmp_path) for _ in range(2))
    one.segment("orders")
    other.segment("md")
    one.update(lambda ring: ring)
    assert set(one.ring.segments) == {"orders", "md"}
    assert other.segment("orders") == one.segment("orders")


# ---- Crashes


def killed(what: str, template: Path, where: Path) -> list[Path]:
    """Copies of ``template``, in each of which the work was killed at one step later than in the last."""
    script = Path(__file__).parent / "killed_at_each_step.py"
    done = subprocess.run(
        [sys.executable, str(script), what, str(template), str(where)],
        env={**os.environ, "PYTHONPATH": str(Path(zts.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [where / str(n) for n in range(int(done.stdout))]


def test_a_crash_while_keys_are_made_leaves_none_or_all(tmp_path: Path):
    """Killed at whatever system call, the next opening has whole keys, and nothing half written remains."""
    (tmp_path / "empty").mkdir()
    killed_states = killed("open", tmp_path / "empty", tmp_path / "states")
    assert len(killed_states) > 8
    for state in killed_states:
        before = (state / "keys.sealed").read_bytes() if (state / "keys.sealed").exists() else None
        keys = AuthorityKeys.open(state)
        assert before in (None, (state / "keys.sealed").read_bytes())
        assert AuthorityKeys.open(state).ring == keys.ring
        assert sorted(p.name for p in state.iterdir()) == ["keys.sealed", "segments", "unlock.key"]


def test_a_crash_while_plain_keys_are_taken_over_loses_none(tmp_path: Path):
    """Killed at whatever system call, root, static and signing are those of the plain file."""
    seeds = plain(tmp_path / "plain")
    killed_states = killed("open", tmp_path / "plain", tmp_path / "states")
    assert len(killed_states) > 8
    for state in killed_states:
        keys = AuthorityKeys.open(state)
        assert (keys.ring.root_seed, keys.static) == (seeds["root"], seeds["static"])
        assert keys.ring.signing[0].seed == seeds["signing"]
        assert not (state / "keys.toml").exists()
