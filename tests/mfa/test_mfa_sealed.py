"""Rows at rest open for whom they were sealed, and for nobody else."""

from __future__ import annotations

import pytest

from ztsession.errors import ConfigurationError, StoreError
from ztsession.mfa.sealed import Sealer

SEALER = Sealer(bytes(range(32)))
SECRET = b"twenty secret bytes!"


def test_what_is_sealed_opens_again():
    """The same key, kind and subject give the data back, also none at all."""
    for data in (SECRET, b""):
        assert SEALER.open("totp", "ada", SEALER.seal("totp", "ada", data)) == data


def test_two_sealings_have_nothing_in_common():
    """Each has a nonce of its own, so equal secrets do not show as equal."""
    first, second = (SEALER.seal("totp", "ada", SECRET) for _ in range(2))
    assert first[1:25] != second[1:25]
    assert first[25:] != second[25:]
    assert SECRET not in first


@pytest.mark.parametrize(("kind", "subject"), [("totp", "bob"), ("recovery", "ada"), ("totpa", "da")])
def test_H2_a_row_moved_elsewhere_does_not_open(kind, subject):
    """Another subject's row, or one of another kind, is refused."""
    sealed = SEALER.seal("totp", "ada", SECRET)
    assert SEALER.open("totp", "ada", sealed) == SECRET
    with pytest.raises(StoreError, match="altered, moved"):
        SEALER.open(kind, subject, sealed)


def test_H15_each_altered_byte_is_refused_and_no_secret_named():
    """A row with any byte flipped, cut short or lengthened fails closed."""
    sealed = SEALER.seal("totp", "ada", SECRET)
    altered = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    for bad in [*altered, *(sealed[:length] for length in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(StoreError) as caught:
            SEALER.open("totp", "ada", bad)
        assert SECRET.decode() not in str(caught.value)
    assert SEALER.open("totp", "ada", sealed) == SECRET


def test_another_key_opens_nothing():
    """A wrong sealing key is an error, not an empty record; and a key has 32 bytes."""
    with pytest.raises(StoreError, match="another key"):
        Sealer(bytes(32)).open("totp", "ada", SEALER.seal("totp", "ada", SECRET))
    with pytest.raises(ConfigurationError, match="32 bytes, not 31"):
        Sealer(bytes(31))
