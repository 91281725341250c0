"""SHA-256 and HMAC-SHA-256 of every back end against NIST's and the RFC's vectors, hashlib, and each
other.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import random
import re
from collections.abc import Iterator

import cryptography_vectors
import pytest
from model import self_check

from ztsession._core import backends, hmac_sha256, mac_lanes_for_testing_only, sha256


def records(path: str) -> Iterator[dict[str, str]]:
    """The ``name = value`` records of a vector file, each closed by its MD line."""
    with cryptography_vectors.open_vector_file(path, "r") as file:
        record: dict[str, str] = {}
        for line in file:
            match = re.match(r"(\w+) = (.*)", line.strip())
            if match:
                record[match[1]] = match[2]
                if match[1] == "MD":
                    yield record
                    record = {}


@pytest.mark.parametrize(("file", "count"), [("SHA256ShortMsg.rsp", 65), ("SHA256LongMsg.rsp", 64)])
def test_cavp_messages(backend: str, file: str, count: int) -> None:
    """Every CAVP message has the digest that NIST says."""
    seen = 0
    for record in records(f"hashes/SHA2/{file}"):
        message = bytes.fromhex(record["Msg"])[: int(record["Len"]) // 8]
        assert sha256(message, backend=backend).hex() == record["MD"], record["Len"]
        seen += 1
    assert seen == count


def test_cavp_monte_carlo(backend: str) -> None:
    """NIST's chain of 100,000 digests ends where it says after each thousand."""
    with cryptography_vectors.open_vector_file("hashes/SHA2/SHA256Monte.rsp", "r") as file:
        text = file.read()
    seed = bytes.fromhex(re.search(r"Seed = (\w+)", text)[1])  # type: ignore[index]
    expected = re.findall(r"MD = (\w+)", text)
    assert len(expected) == 100
    for wanted in expected:
        a = b = c = seed
        for _ in range(1000):
            a, b, c = b, c, sha256(a + b + c, backend=backend)
        seed = c
        assert seed.hex() == wanted


def test_rfc_4231(backend: str) -> None:
    """Every HMAC of RFC 4231 comes out, the truncated one in its first bytes."""
    seen = 0
    for record in records("HMAC/rfc-4231-sha256.txt"):
        mac = hmac_sha256(bytes.fromhex(record["Key"]), bytes.fromhex(record["Msg"]), backend=backend)
        assert mac.hex().startswith(record["MD"])
        seen += 1
    assert seen >= 6


def test_every_length(backend: str) -> None:
    """For each length from 0 to 1024 digest and MAC equal hashlib's, with keys below, at and above a
    block.
    """
    data, keys = os.urandom(1024), [os.urandom(n) for n in (0, 1, 32, 63, 64, 65, 200)]
    for n in range(1025):
        message = data[:n]
        assert sha256(message, backend=backend) == hashlib.sha256(message).digest(), n
        key = keys[n % len(keys)]
        assert hmac_sha256(key, message, backend=backend) == hmac.digest(key, message, "sha256"), n


def test_back_ends_agree_on_random_splits() -> None:
    """Random lengths at random alignments give one answer on all back ends, hashlib's."""
    rng = random.Random(1)
    data = memoryview(os.urandom(1 << 16))
    for _ in range(20_000):
        start, size = rng.randrange(1 << 15), int(rng.expovariate(1 / 200))
        part = data[start : start + size]
        key = data[rng.randrange(100) :][: rng.randrange(100)]
        answers = {sha256(part, backend=name) for name in backends()}
        macs = {hmac_sha256(key, part, backend=name) for name in backends()}
        assert answers == {hashlib.sha256(part).digest()}
        assert macs == {hmac.digest(bytes(key), bytes(part), "sha256")}


def test_token_mac_of_every_length(backend: str) -> None:
    """A token's tag, alone and in each lane, is the truncated HMAC for each body length from 0 to 400."""
    key, data = os.urandom(32), os.urandom(1024)
    for n in range(401):
        messages = [
            data[at : at + 32 + (n * step) % 401] for at, step in ((0, 1), (100, 37), (7, 150), (60, 399))
        ]
        expected = [hmac.digest(key, m, "sha256")[:16] for m in messages]
        for count in range(1, 5):
            together, alone = mac_lanes_for_testing_only(key, messages[:count], backend=backend)
            assert together == expected[:count], (n, count)
            assert alone == expected[:count], (n, count)


def test_lanes_do_not_mix(backend: str) -> None:
    """One to four messages of any lengths at once each get their own tag, in their own place."""
    rng, key = random.Random(2), os.urandom(32)
    for _ in range(5_000):
        messages = [os.urandom(32 + int(rng.expovariate(1 / 120))) for _ in range(rng.randint(1, 4))]
        together, alone = mac_lanes_for_testing_only(key, messages, backend=backend)
        assert together == alone == [hmac.digest(key, m, "sha256")[:16] for m in messages]


def test_an_unknown_back_end_is_named() -> None:
    """Asking for a back end that this machine lacks is an error that lists those it has."""
    with pytest.raises(ValueError, match="portable"):
        sha256(b"", backend="abacus")


def test_the_models_own_compression() -> None:
    """The model's compression function, which the forgery tests rest on, is SHA-256's."""
    self_check()
