"""Tickets: what is sealed to one segment opens there, once it is proven to be the Authority's, and nowhere
else.
"""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

import msgpack
import pytest

from ztsession.errors import ConfigurationError, InstallationError, WireError
from ztsession.policy.grant import Grant
from ztsession.tickets import (
    InstallAnswer,
    InstallRequest,
    SegmentKey,
    Ticket,
    TicketBody,
    open_ticket,
    seal_ticket,
    segment_secret,
)
from ztsession.tickets.installation import InstallRefusal
from ztsession.tickets.profile import operation_names, profile_of
from ztsession.tickets.ticket import _context, _signed
from ztsession.wire import canonical
from ztsession.wire.signature import SeedSigner, public_key, sign

NOW = 1_900_000_000
SEED, SECRET = b"s" * 32, b"x" * 32
AUTHORITY = public_key(SEED)
KEY = SegmentKey("orders", b"k" * 64, b"d" * 32)
GRANT = Grant(
    session=b"1" * 16,
    subject="algo-7",
    device="host-1",
    segment="orders",
    environment="prod",
    catalog=b"c" * 32,
    policy=b"p" * 32,
    version=1,
    posture=b"q" * 32,
    assurance=2,
    operations={"orders.submit": [0, 2_000_000, 0, 0], "orders.cancel": [2, 2_000_000, 0xFFFF_FFFF, 1]},
    allowed=[5, 4, 0],
    step_up=1,
    epoch_length_us=30_000_000,
    lifetime_s=3600,
    idle_s=900,
    until=0,
    lasting=[5, 4, 0],
    issued_at=NOW,
)
BODY = TicketBody(GRANT.to_bytes(), SECRET, NOW, "authority", NOW + GRANT.lifetime_s)


def sealed(
    body: TicketBody = BODY, segment: str = "orders", key: SegmentKey = KEY, seed: bytes = SEED
) -> bytes:
    return seal_ticket(body, segment, key.public, NOW + 3600, SeedSigner(seed))


def reopened(ticket: bytes, key: SegmentKey = KEY, now: float = NOW) -> tuple[Grant, TicketBody]:
    return open_ticket(ticket, [key], [AUTHORITY], now)


def signed(inside: bytes) -> bytes:
    """A ticket with any inside, as only the Authority could make it."""
    key_id, not_after = KEY.public.key_id, NOW + 3600
    box = KEY.public.seal(inside, _context("orders", key_id, not_after))
    return Ticket(
        "orders", key_id, not_after, box, sign(SEED, _signed("orders", key_id, not_after, box))
    ).to_bytes()


def remapped(data: bytes, **changed: object) -> bytes:
    return canonical.encode({**canonical.decode(data, max_bytes=1 << 16), **changed})


def test_a_ticket_opens_at_its_segment_with_all_that_was_put_in():
    """Grant, secret, beginning and issuer come out as they went in, until the very second of expiry."""
    grant, body = reopened(sealed(), now=NOW + 3599.9)
    assert grant == GRANT
    assert (body.secret, body.started_at, body.issuer) == (SECRET, NOW, "authority")


def test_secrets_do_not_show_in_a_repr():
    """Neither a ticket's inside nor a segment's key prints what must stay secret."""
    for shown in (repr(BODY), repr(KEY), repr(InstallRequest.make(b"t", SECRET))):
        assert SECRET.hex() not in shown
        assert repr(SECRET) not in shown
        assert repr(KEY.seed) not in shown


def test_K1_a_ticket_for_another_segment_is_refused():
    """A ticket is good for the segment whose key it is sealed to, whatever its outside says."""
    other = SegmentKey("md", b"o" * 64, b"e" * 32)
    with pytest.raises(InstallationError, match="for segment 'orders'"):
        reopened(sealed(), key=other)
    with pytest.raises(InstallationError, match="for segment 'md'"):
        reopened(sealed(segment="md"))
    with pytest.raises(InstallationError, match="grant is for another segment"):
        open_ticket(sealed(segment="md", key=other), [other], [AUTHORITY], NOW)
    assert reopened(sealed())


def test_K2_every_byte_of_a_ticket_is_covered():
    """Changing any one byte of a ticket makes it none."""
    ticket = sealed()
    for at in range(len(ticket)):
        changed = bytearray(ticket)
        changed[at] ^= 1 << at % 8
        with pytest.raises(InstallationError):
            reopened(bytes(changed))
    assert reopened(ticket)


def test_K2_no_part_of_a_ticket_may_be_missing_or_too_much():
    """Each truncation and any byte behind the end is refused."""
    ticket = sealed()
    for size in range(len(ticket)):
        with pytest.raises(InstallationError):
            reopened(ticket[:size])
    with pytest.raises(InstallationError):
        reopened(ticket + b"\0")
    assert reopened(ticket)


def test_a_ticket_of_another_authority_is_refused_before_it_is_decrypted():
    """Whoever knows the segment's public key can seal, and only the Authority can sign."""
    with pytest.raises(InstallationError, match="not the Authority's"):
        reopened(sealed(seed=b"m" * 32))


@pytest.mark.parametrize("version", [0, 2, True, "1"])
def test_K3_another_version_is_refused(version: object):
    """Version 1 is the only one, outside and inside, and nothing that merely looks like it."""
    with pytest.raises(InstallationError, match=r"ticket\.v: expected 1"):
        reopened(remapped(sealed(), v=version))
    with pytest.raises(InstallationError, match=r"ticket-body\.v: expected 1"):
        reopened(signed(remapped(BODY.to_bytes(), v=version)))
    with pytest.raises(InstallationError, match=r"grant\.v: expected 1"):
        reopened(signed(remapped(BODY.to_bytes(), grant=remapped(GRANT.to_bytes(), v=version))))
    assert reopened(signed(BODY.to_bytes()))


def test_K4_an_unknown_field_is_refused():
    """A field that this version does not know may be critical, wherever it stands."""
    with pytest.raises(InstallationError, match="unknown field 'extra'"):
        reopened(remapped(sealed(), extra=1))
    with pytest.raises(InstallationError, match="unknown field 'extra'"):
        reopened(signed(remapped(BODY.to_bytes(), extra=1)))
    with pytest.raises(InstallationError, match="unknown field 'extra'"):
        reopened(signed(remapped(BODY.to_bytes(), grant=remapped(GRANT.to_bytes(), extra=1))))
    assert reopened(signed(BODY.to_bytes()))


def test_K5_a_key_that_stands_twice_is_refused():
    """Two parsers could read two different tickets there."""
    fields = sorted(canonical.decode(BODY.to_bytes(), max_bytes=1 << 16).items())
    packer = msgpack.Packer(use_bin_type=True)
    for twice in fields:
        rows = sorted([*fields, twice], key=lambda row: row[0])
        doubled = packer.pack_map_header(len(rows)) + b"".join(
            packer.pack(part) for row in rows for part in row
        )
        with pytest.raises(InstallationError, match="malformed"):
            reopened(signed(doubled))
    assert reopened(signed(BODY.to_bytes()))


def test_K6_a_ticket_sealed_to_a_retired_key_is_refused():
    """After a segment got a new key, tickets for the old one do not open, nor do those that lie about the
    key.
    """
    retired = SegmentKey("orders", b"r" * 64, b"e" * 32)
    with pytest.raises(InstallationError, match="another key of it"):
        reopened(sealed(key=retired))
    key_id = KEY.public.key_id
    box = retired.public.seal(BODY.to_bytes(), _context("orders", key_id, NOW + 3600))
    signature = sign(SEED, _signed("orders", key_id, NOW + 3600, box))
    with pytest.raises(InstallationError, match="does not open"):
        reopened(Ticket("orders", key_id, NOW + 3600, box, signature).to_bytes())
    assert reopened(sealed())


@pytest.mark.parametrize("size", [1, 32, 1119, 1120, 1152, 1200])
def test_whatever_is_signed_as_sealed_opens_or_is_refused(size: int):
    """Sealed bytes of any length lead to one kind of error and to nothing else."""
    box = os.urandom(size)
    signature = sign(SEED, _signed("orders", KEY.public.key_id, NOW + 3600, box))
    with pytest.raises(InstallationError, match="does not open"):
        reopened(Ticket("orders", KEY.public.key_id, NOW + 3600, box, signature).to_bytes())


def test_an_expired_ticket_is_refused():
    """From the second of its expiry on, a ticket is none."""
    ticket = sealed()
    assert reopened(ticket, now=NOW + 3599)
    with pytest.raises(InstallationError, match="expired"):
        reopened(ticket, now=NOW + 3600)


def test_K7_only_the_holder_of_the_secret_can_present():
    """The request of somebody who saw the ticket pass, or who changed a nonce or a ticket in it, does not
    hold.
    """
    request = InstallRequest.make(b"ticket", SECRET)
    request.check(SECRET)
    stolen = InstallRequest.make(b"ticket", os.urandom(32))
    changed = [
        dataclasses.replace(request, nonce=os.urandom(32)),
        dataclasses.replace(request, ticket=b"other"),
    ]
    for wrong in (stolen, *changed):
        with pytest.raises(InstallationError, match="does not hold its segment secret"):
            wrong.check(SECRET)


def test_K10_an_altered_answer_is_refused_in_each_of_its_fields():
    """Handle, nonce, clock and epoch length are the point's, for this very request, or there is no
    installation.
    """
    request = InstallRequest.make(b"ticket", SECRET)
    answer = InstallAnswer.make(request, SECRET, 77, b"n" * 32, 5_000_000, 30_000_000)
    answer.check(request, SECRET)
    for field, value in {
        "handle": 78,
        "nonce": b"m" * 32,
        "now_us": 5_000_001,
        "epoch_length_us": 60_000_000,
        "mac": b"m" * 32,
    }.items():
        with pytest.raises(InstallationError, match="altered"):
            dataclasses.replace(answer, **{field: value}).check(request, SECRET)
    with pytest.raises(InstallationError, match="for another request"):
        answer.check(InstallRequest.make(b"ticket", SECRET), SECRET)
    with pytest.raises(InstallationError, match="altered"):
        answer.check(request, os.urandom(32))


def test_request_and_answer_are_made_with_keys_of_their_own():
    """What a client says cannot be sent back to it as an answer, even where the bytes would fit."""
    secrets = {segment_secret(SECRET, digest) for digest in (b"a" * 32, b"b" * 32)}
    assert len(secrets | {SECRET}) == 3
    with pytest.raises(ValueError, match="expected 32"):
        segment_secret(SECRET, b"a" * 31)


def test_K9_a_changed_decision_is_a_changed_key():
    """A grant that differs in a single limit has another digest and so another segment secret."""
    wider = dataclasses.replace(GRANT, allowed=[5, 5, 0])
    assert segment_secret(SECRET, GRANT.digest()) != segment_secret(SECRET, wider.digest())
    assert GRANT.profile_digest() != wider.profile_digest()


def test_messages_of_installation_read_back_and_are_bounded():
    """Each message has one form; the next larger size is refused unread."""
    request = InstallRequest.make(b"t" * 16384, SECRET)
    assert InstallRequest.from_bytes(request.to_bytes()) == request
    refusal = InstallRefusal("busy")
    assert InstallRefusal.from_bytes(refusal.to_bytes()) == refusal
    with pytest.raises(WireError):
        InstallRequest.from_bytes(bytes(16384 + 257))
    with pytest.raises(WireError):
        InstallRequest.make(b"t" * 16385, SECRET)


def test_a_profile_is_what_the_grant_says():
    """Names stand at their index, a hole is a name that nobody can ask for, and the digest is the
    profile's.
    """
    assert operation_names(GRANT) == ("orders.submit", "", "orders.cancel")
    assert profile_of(GRANT).digest == GRANT.profile_digest()


def test_a_segment_key_survives_its_file(tmp_path: Path):
    """The file is private, gives the same key back, is never overwritten, and is refused when others may
    read it.
    """
    path = tmp_path / "orders.toml"
    KEY.to_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SegmentKey.from_file(path) == KEY
    with pytest.raises(ConfigurationError):
        KEY.to_file(path)
    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="0600"):
        SegmentKey.from_file(path)


def test_a_short_segment_key_is_refused():
    """Sizes are looked at before any primitive sees the key."""
    for seed, x25519 in ((b"k" * 63, b"d" * 32), (b"k" * 64, b"d" * 31)):
        with pytest.raises(ConfigurationError, match="64 bytes"):
            SegmentKey("orders", seed, x25519)
    assert SegmentKey.generate("orders").public.key_id != KEY.public.key_id
