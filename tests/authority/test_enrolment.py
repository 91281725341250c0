"""Subjects, devices and factors come and go while the Authority runs, and their sessions go with them."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import ConfigurationError, HandshakeError, Revoked
from ztsession.identity.subjects import Subject, ed25519_credential
from ztsession.posture.devices import Device


def subject_of(identity: zts.Ed25519Identity, **more: Any) -> Subject:
    credentials = (ed25519_credential(identity.public_key),)
    return Subject(identity.subject, "algorithm", ("trading",), "rates", credentials, **more)


def events(house: Any) -> list[str]:
    return [json.loads(line)["event"] for line in (house.state / "audit.jsonl").read_text().splitlines()]


def test_a_subject_is_enrolled_and_connects_and_stays_after_a_restart(house: Any):
    """Who is enrolled at run time is let in at once, and by the next process too."""
    authority, newcomer = house.authority(), zts.Ed25519Identity.generate("algo-9")
    with pytest.raises(HandshakeError):
        house.connect(authority, identity=newcomer)
    authority.enrolment.subject(subject_of(newcomer))
    assert house.connect(authority, identity=newcomer).install(house.point(authority), "orders")
    authority.close()
    assert house.connect(house.authority(), identity=newcomer)
    assert "subject.enrolled" in events(house)


def test_H14_a_subject_that_is_removed_loses_its_sessions_at_once(house: Any):
    """The next call of a removed subject is refused, it cannot connect again, and nobody else notices."""
    authority, leaver = house.authority(), zts.Ed25519Identity.generate("algo-9")
    authority.enrolment.subject(subject_of(leaver))
    point = house.point(authority)
    call = point.verifier("orders.submit")
    his = house.connect(authority, identity=leaver).install(point, "orders")
    mine = house.connect(authority).install(point, "orders")
    assert call(his.sign("orders.submit", b"x"), b"x")
    assert authority.enrolment.remove_subject("algo-9") == 1
    with pytest.raises(Revoked):
        call(his.sign("orders.submit", b"x"), b"x")
    with pytest.raises(HandshakeError):
        house.connect(authority, identity=leaver)
    assert call(mine.sign("orders.submit", b"x"), b"x")


def test_H14_a_subject_taken_out_of_the_file_loses_its_sessions_on_reload(house: Any):
    """The operator's file has the same effect, as soon as it is read."""
    authority, other = house.authority(), zts.Ed25519Identity.generate("algo-8")
    point = house.point(authority)
    mine = house.connect(authority).install(point, "orders")
    house.enrol(other)
    authority.reload()
    with pytest.raises(Revoked):
        point.verifier("orders.submit")(mine.sign("orders.submit", b"x"), b"x")


def test_H14_a_credential_that_is_replaced_ends_what_it_opened(house: Any):
    """With a new key the subject goes on; sessions that the old one opened are over."""
    authority, point = house.authority(), None
    old, new = zts.Ed25519Identity.generate("algo-9"), zts.Ed25519Identity.generate("algo-9")
    authority.enrolment.subject(subject_of(old))
    session = house.connect(authority, identity=old)
    authority.enrolment.subject(subject_of(new))
    assert authority.sessions() == []
    point = house.point(authority)
    with pytest.raises(zts.errors.InstallationError):
        session.install(point, "orders")
    assert house.connect(authority, identity=new)


def test_H14_a_device_that_is_removed_takes_its_sessions_along(house: Any):
    """A stolen host is taken out, and whatever ran on it is refused with the next call."""
    authority = house.authority()
    host = zts.DevicePosture("host-9", os.urandom(32), measure=dict)
    authority.enrolment.device(Device("host-9", public_key=host.public_key))
    point = house.point(authority)
    on_host = house.connect(authority, posture=host).install(point, "orders")
    elsewhere = house.connect(authority).install(point, "orders")
    assert authority.enrolment.remove_device("host-9") == 1
    call = point.verifier("orders.submit")
    with pytest.raises(Revoked):
        call(on_host.sign("orders.submit", b"x"), b"x")
    assert call(elsewhere.sign("orders.submit", b"x"), b"x")
    with pytest.raises(HandshakeError):
        house.connect(authority, posture=host)


def test_H14_a_device_key_that_is_replaced_ends_what_it_opened(house: Any):
    """With a new key the device goes on; sessions that a copy of the old one opened are over."""
    authority = house.authority()
    old, new = (zts.DevicePosture("host-9", os.urandom(32), measure=dict) for _ in range(2))
    authority.enrolment.device(Device("host-9", public_key=old.public_key))
    stolen, kept = house.connect(authority, posture=old), house.connect(authority)
    authority.enrolment.device(Device("host-9", public_key=old.public_key, ueid=bytes(range(8))))
    assert {record.id for record in authority.sessions()} == {stolen.id, kept.id}
    authority.enrolment.device(Device("host-9", public_key=new.public_key))
    assert [record.id for record in authority.sessions()] == [kept.id]
    with pytest.raises(HandshakeError):
        stolen.renew()
    assert house.connect(authority, posture=new).renew()


def test_H14_a_device_key_that_is_replaced_in_the_file_ends_what_it_opened(house: Any):
    """The operator's file has the same effect, as soon as it is read."""
    authority = house.authority()
    session = house.connect(authority)
    authority.reload()
    assert authority.session(session.id)
    new = zts.DevicePosture("host-1", os.urandom(32), measure=dict)
    (house.rules / "devices.toml").write_text(new.registry_entry())
    authority.reload()
    assert authority.sessions() == []
    assert house.connect(authority, posture=new)


def test_a_session_whose_basis_is_damaged_is_ended_and_the_authority_opens(house: Any):
    """One row that cannot be read costs its own session, and nobody else's."""
    authority = house.authority()
    damaged, whole = house.connect(authority), house.connect(authority)
    with authority._store.transaction():
        authority._store.execute("UPDATE sessions SET basis = x'00' WHERE id = ?", damaged.id)
    authority.close()
    assert [record.id for record in house.authority().sessions()] == [whole.id]


def test_the_file_is_right_where_both_name_a_subject(house: Any):
    """Whoever can enrol at run time cannot give a subject of the file another key."""
    authority, twin = house.authority(), zts.Ed25519Identity.generate("algo-7")
    authority.enrolment.subject(subject_of(twin))
    with pytest.raises(HandshakeError):
        house.connect(authority, identity=twin)
    assert house.connect(authority)


def test_mistakes_are_told_and_change_nothing(house: Any):
    """A credential of somebody else, and removing who is not here, are errors that say what to look at."""
    authority = house.authority()
    one, two = zts.Ed25519Identity.generate("algo-1"), zts.Ed25519Identity.generate("algo-2")
    authority.enrolment.subject(subject_of(one))
    stolen = Subject("algo-2", "algorithm", (), "", (ed25519_credential(one.public_key),))
    with pytest.raises(ConfigurationError, match="belongs to algo-1"):
        authority.enrolment.subject(stolen)
    for wrong in (
        lambda: authority.enrolment.remove_subject("algo-7"),
        lambda: authority.enrolment.remove_device("host-1"),
    ):
        with pytest.raises(ConfigurationError, match=r"is it in"):
            wrong()
    assert house.connect(authority)
    with pytest.raises(HandshakeError):
        house.connect(authority, identity=two)
