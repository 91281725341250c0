"""Events of others become signals, in force before they are acknowledged, in the order they were said."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="SETs need ztsession[authority]")

from ssf_makers import (
    CAEP,
    FIRM,
    HOST,
    NOW,
    OTHER,
    RISC,
    SESSION,
    SSF,
    USER,
    Applied,
    House,
    Issuer,
    write_settings,
)

from ztsession.errors import AuditError, EventRefused, StoreError
from ztsession.risk.levels import Level
from ztsession.risk.rules import RiskRules
from ztsession.risk.ssf.events import EVENTS, TABLE
from ztsession.risk.ssf.receiver import EVENT_MAX_AGE_S, WITHDRAWAL_MAX_AGE_S, SignalReceiver
from ztsession.risk.ssf.sets import LEEWAY_S
from ztsession.risk.ssf.settings import SsfSettings
from ztsession.store.sqlite import KEEP_S

ISSUER = Issuer()
SUBJECT, DEVICE = ("subject", "algo-7"), ("device", "host-1")
COMPLIANCE = CAEP + "device-compliance-change"
DRIFTED = {"previous_status": "compliant", "current_status": "not-compliant"}
MENDED = {"previous_status": "not-compliant", "current_status": "compliant"}


class World:
    """A receiver with one transmitter, before an Authority that is a list."""

    def __init__(self, directory: Path, more: str = "") -> None:
        self.directory, self.house, self.applied, self.now = directory, House(), Applied(), float(NOW)
        self.issuer = ISSUER
        write_settings(directory, self.issuer, more)
        self.receiver = self.begun()

    def begun(self) -> SignalReceiver:
        settings = SsfSettings.from_directory(self.directory)
        return SignalReceiver(settings, self.house, self.applied, clock=lambda: self.now)

    def take(self, *given: Any, **changed: Any) -> str:
        return self.receiver.receive("idp", self.issuer.set(*given, **changed))

    def refused(self, *given: Any, **changed: Any) -> str:
        before = list(self.applied)
        with pytest.raises(EventRefused) as error:
            self.take(*given, **changed)
        assert self.applied == before
        return error.value.err


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


#: By number an event, its members, whom it is about, and the signals that it becomes.
EACH: dict[str, tuple[str, Any, Any, list[Any]]] = {
    "01 session-revoked": (
        CAEP + "session-revoked",
        {"initiating_entity": "policy", "event_timestamp": NOW},
        {"format": "opaque", "id": SESSION.hex()},
        [("session-revoked", "CRITICAL", ("session", SESSION.hex()), False)],
    ),
    "02 token-claims-change": (
        CAEP + "token-claims-change",
        {"claims": {"role": "ro-admin"}},
        USER,
        [("claims-change", "MEDIUM", SUBJECT, False)],
    ),
    "03 credential revoked": (
        CAEP + "credential-change",
        {"credential_type": "x509", "change_type": "revoke", "x509_serial": "03"},
        USER,
        [("credential-change", "HIGH", SUBJECT, False)],
    ),
    "04 credential deleted": (
        CAEP + "credential-change",
        {"credential_type": "a kind of theirs", "change_type": "delete", "friendly_name": ""},
        USER,
        [("credential-change", "HIGH", SUBJECT, False)],
    ),
    "05 credential created": (
        CAEP + "credential-change",
        {"credential_type": "fido2-roaming", "change_type": "create"},
        USER,
        [("credential-change", "LOW", SUBJECT, False)],
    ),
    "06 assurance up": (
        CAEP + "assurance-level-change",
        {
            "namespace": "NIST-AAL",
            "current_level": "2",
            "previous_level": "1",
            "change_direction": "increase",
        },
        USER,
        [("assurance-change", "LOW", SUBJECT, True)],
    ),
    "07 assurance down": (
        CAEP + "assurance-level-change",
        {"namespace": "NIST-AAL", "current_level": "1", "change_direction": "decrease"},
        USER,
        [("assurance-change", "MEDIUM", SUBJECT, False)],
    ),
    "08 assurance somewhere": (
        CAEP + "assurance-level-change",
        {"namespace": "Retinal Scan", "current_level": "hi-res-scan"},
        USER,
        [("assurance-change", "MEDIUM", SUBJECT, False)],
    ),
    "09 not compliant": (COMPLIANCE, DRIFTED, HOST, [("posture-drift", "MEDIUM", DEVICE, False)]),
    "10 compliant": (COMPLIANCE, MENDED, HOST, [("posture-drift", "LOW", DEVICE, True)]),
    "11 session established": (
        CAEP + "session-established",
        {"fp_ua": "abb0", "acr": "AAL2", "amr": ["otp"], "ext_id": "1"},
        USER,
        [("behaviour", "LOW", SUBJECT, False)],
    ),
    "12 session presented": (
        CAEP + "session-presented",
        {"fp_ua": "abb0"},
        USER,
        [("behaviour", "LOW", SUBJECT, False)],
    ),
    "13 risk high": (
        CAEP + "risk-level-change",
        {"principal": "USER", "current_level": "HIGH", "risk_reason": "PASSWORD_FOUND"},
        USER,
        [("risk-level", "HIGH", SUBJECT, False)],
    ),
    "14 risk of a device": (
        CAEP + "risk-level-change",
        {"principal": "DEVICE", "current_level": "MEDIUM", "previous_level": "LOW"},
        HOST,
        [("risk-level", "MEDIUM", DEVICE, False)],
    ),
    "15 risk of a session": (
        CAEP + "risk-level-change",
        {"principal": "SESSION", "current_level": "HIGH"},
        {"format": "opaque", "id": SESSION.hex()},
        [("risk-level", "HIGH", ("session", SESSION.hex()), False)],
    ),
    "16 risk low": (
        CAEP + "risk-level-change",
        {"principal": "USER", "current_level": "LOW"},
        USER,
        [("risk-level", "LOW", SUBJECT, True)],
    ),
    "17 risk of a tenant": (
        CAEP + "risk-level-change",
        {"principal": "TENANT", "current_level": "HIGH"},
        USER,
        [],
    ),
    "18 account disabled": (RISC + "account-disabled", {}, USER, [("account", "HIGH", SUBJECT, False)]),
    "19 account hijacked": (
        RISC + "account-disabled",
        {"reason": "hijacking"},
        USER,
        [("account", "CRITICAL", SUBJECT, False)],
    ),
    "20 account enabled": (RISC + "account-enabled", {}, USER, [("account", "LOW", SUBJECT, True)]),
    "21 account purged": (RISC + "account-purged", {}, USER, [("account", "CRITICAL", SUBJECT, False)]),
    "22 credential compromised": (
        RISC + "credential-compromise",
        {"credential_type": "password", "reason_admin": "found in a list"},
        USER,
        [("credential-compromise", "HIGH", SUBJECT, False)],
    ),
    "23 sessions revoked": (RISC + "sessions-revoked", {}, USER, []),
    "24 identifier changed": (
        RISC + "identifier-changed",
        {"new-value": "algo-9@firm.example"},
        USER,
        [("claims-change", "MEDIUM", SUBJECT, False)],
    ),
    "25 identifier recycled": (
        RISC + "identifier-recycled",
        {},
        USER,
        [("account", "HIGH", SUBJECT, False)],
    ),
    "26 credential change required": (
        RISC + "account-credential-change-required",
        {},
        USER,
        [("credential-change", "MEDIUM", SUBJECT, False)],
    ),
}


@pytest.mark.parametrize("case", EACH)
def test_each_event_is_its_signals(world: World, case: str):
    """Kind, level and target as the table has them, from the transmitter by its name."""
    event, members, subject, signals = EACH[case]
    assert world.take(event, members, sub_id=subject) == ("applied" if signals else "nobody")
    assert world.applied.told == signals
    assert {each.source for each in world.applied} <= {"ssf:idp"}


def test_every_event_is_in_the_table_and_every_kind_is_one_of_ours():
    """All of CAEP and RISC, each with a last row that fits whatever is said."""
    shown = {case[0].rpartition("/")[2] for case in EACH.values()}
    assert shown == set(EVENTS) == {row.event for row in TABLE}
    for name in EVENTS:
        assert [row for row in TABLE if row.event == name][-1].when == {}
    assert {row.kind for row in TABLE} <= RiskRules().kinds.keys()


#: By number an event with one member wrong.
WRONG: dict[str, tuple[str, Any]] = {
    "01": (COMPLIANCE, {"current_status": "not-compliant"}),
    "02": (COMPLIANCE, {**DRIFTED, "current_status": "fine"}),
    "03": (COMPLIANCE, {**DRIFTED, "current_status": ["compliant"]}),
    "04": (COMPLIANCE, {**DRIFTED, "initiating_entity": "nobody"}),
    "05": (COMPLIANCE, {**DRIFTED, "event_timestamp": str(NOW)}),
    "06": (COMPLIANCE, {**DRIFTED, "event_timestamp": -1}),
    "07": (COMPLIANCE, {**DRIFTED, "event_timestamp": True}),
    "08": (COMPLIANCE, {**DRIFTED, "reason_admin": {}}),
    "09": (COMPLIANCE, {**DRIFTED, "reason_user": {"en": 5}}),
    "10": (CAEP + "token-claims-change", {}),
    "11": (CAEP + "token-claims-change", {"claims": {}}),
    "12": (CAEP + "credential-change", {"credential_type": "pin"}),
    "13": (CAEP + "credential-change", {"credential_type": "pin", "change_type": "explode"}),
    "14": (CAEP + "credential-change", {"credential_type": "", "change_type": "create"}),
    "15": (CAEP + "credential-change", {"change_type": "create"}),
    "16": (CAEP + "assurance-level-change", {"namespace": "x"}),
    "17": (CAEP + "assurance-level-change", {"namespace": "x", "current_level": 2}),
    "18": (
        CAEP + "assurance-level-change",
        {"namespace": "x", "current_level": "2", "change_direction": "up"},
    ),
    "19": (CAEP + "risk-level-change", {"principal": "USER", "current_level": "CRITICAL"}),
    "20": (CAEP + "risk-level-change", {"current_level": "HIGH"}),
    "21": (CAEP + "session-established", {"amr": {"otp": "otp"}}),
    "22": (CAEP + "session-presented", {"ext_id": 5}),
    "23": (RISC + "credential-compromise", {}),
    "24": (RISC + "account-disabled", {"reason": 5}),
    "25": (RISC + "identifier-changed", {"new-value": []}),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_event_of_another_form_is_refused(world: World, case: str):
    """A member that is known and wrong says that the two ends do not speak of the same thing."""
    event, members = WRONG[case]
    assert world.refused(event, members, sub_id={**HOST, "user": USER}) == "invalid_request"


def test_a_method_may_stand_without_a_list(world: World):
    """As it does in an example of CAEP 1.0, draft 2 (section 3.6.2)."""
    assert world.take(CAEP + "session-established", {"amr": "otp"}) == "applied"


def test_an_address_event_is_about_an_address(world: World):
    """Who changed or lost an address is named by it, as RISC demands."""
    for event in ("identifier-changed", "identifier-recycled"):
        for subject in ({"format": "opaque", "id": "x"}, {"format": "complex", "user": USER}):
            assert world.refused(RISC + event, {}, sub_id=subject) == "invalid_request"


# ---- Whom it is about


def test_names_are_mapped_as_the_operator_said(tmp_path: Path):
    """By a credential, by a list, as they are, or not at all; each format by its own rule."""
    world = World(
        tmp_path,
        """
[transmitters.idp.subject]
iss_sub = "oidc"
email = "name"
account = "name"
uri = "spiffe"
opaque = "listed"
phone_number = "listed"
[transmitters.idp.listed]
"0017" = "algo-7"
"+12065550100" = "algo-8"
""",
    )
    world.house.subjects = {"algo-7", "algo-8", "jane@firm.example"}
    world.house.credentials = {
        f"oidc:{OTHER} 00u1x8": "algo-8",
        "spiffe://firm.example/algo-7": "algo-7",
        "ed25519:00": "algo-8",
        "oidc:https://x.example a b": "algo-7",
    }
    for subject, name in [
        ({"format": "iss_sub", "iss": OTHER, "sub": "00u1x8"}, "algo-8"),
        ({"format": "iss_sub", "iss": FIRM, "sub": "00u1x8"}, None),
        ({"format": "email", "email": "jane@firm.example"}, "jane@firm.example"),
        ({"format": "email", "email": "Jane@Firm.example"}, "jane@firm.example"),
        ({"format": "account", "uri": "acct:jane@firm.example"}, "jane@firm.example"),
        ({"format": "uri", "uri": "spiffe://firm.example/algo-7"}, "algo-7"),
        ({"format": "uri", "uri": "ed25519:00"}, None),
        ({"format": "iss_sub", "iss": "https://x.example a", "sub": "b"}, None),
        ({"format": "iss_sub", "iss": "https://x.example", "sub": "a b"}, "algo-7"),
        ({"format": "opaque", "id": "0017"}, "algo-7"),
        ({"format": "opaque", "id": "algo-7"}, None),
        ({"format": "phone_number", "phone_number": "+12065550100"}, "algo-8"),
        ({"format": "did", "url": "did:example:algo-7"}, None),
        ({"format": "jwt_id", "iss": FIRM, "jti": "algo-7"}, None),
        ({"format": "ours-alone", "id": "algo-7"}, None),
    ]:
        world.applied.clear()
        assert world.take(RISC + "account-disabled", sub_id=subject) == ("applied" if name else "nobody")
        assert [each.subject for each in world.applied] == ([name] if name else [])


@pytest.mark.parametrize(
    "text",
    ["\u0430lgo-7", "algo-7\n", "algo-7 ", "ALGO-7\x00", "algo\u20117", "algo-7@firm.example"],
)
def test_L7_what_looks_like_a_name_is_nobody(tmp_path: Path, text: str):
    """Look-alike letters, blanks and control characters are in no name, and so never match one."""
    world = World(tmp_path, '[transmitters.idp.subject]\nemail = "name"\nopaque = "name"\n')
    for subject in ({"format": "email", "email": text}, {"format": "opaque", "id": text}):
        assert world.take(RISC + "account-disabled", sub_id=subject) == "nobody"
    assert world.applied == []


def test_another_issuers_names_are_others(tmp_path: Path):
    """The same sub of another issuer is somebody else, where names are taken as they are or listed."""
    world = World(
        tmp_path,
        '[transmitters.idp.subject]\niss_sub = "name"\n[transmitters.idp.device]\niss_sub = "listed"\n'
        '[transmitters.idp.listed]\n"d-1" = "host-1"\n',
    )
    for issuer, outcome in ((FIRM, "applied"), (OTHER, "nobody")):
        subject = {"format": "iss_sub", "iss": issuer, "sub": "algo-7"}
        device = {"format": "complex", "device": {"format": "iss_sub", "iss": issuer, "sub": "d-1"}}
        assert world.take(RISC + "account-disabled", sub_id=subject) == outcome
        assert world.take(COMPLIANCE, DRIFTED, sub_id=device) == outcome


def test_aliases_and_complex_subjects_hit_all_that_they_name(world: World):
    """Each enrolled subject once, from whichever alias; an event about a device leaves its user alone."""
    aliases = {"format": "aliases", "identifiers": [USER, {"format": "opaque", "id": "x"}, USER]}
    assert world.take(RISC + "account-disabled", sub_id=aliases) == "applied"
    assert world.applied.told == [("account", "HIGH", SUBJECT, False)]
    world.applied.clear()
    both = {**HOST, "user": USER, "tenant": {"format": "opaque", "id": "1"}, "colour": "red"}
    assert world.take(COMPLIANCE, DRIFTED, sub_id=both) == "applied"
    assert world.applied.told == [("posture-drift", "MEDIUM", DEVICE, False)]


def test_nobody_here_is_acknowledged_and_counted(world: World):
    """An event about somebody else's users is no error, and does nothing."""
    stranger = {"format": "email", "email": "stranger@firm.example"}
    assert world.take(RISC + "account-disabled", sub_id=stranger) == "nobody"
    world.house.subjects.clear()
    assert world.take(RISC + "account-disabled") == "nobody"
    assert world.applied == []
    assert world.receiver.counts == {("idp", "nobody"): 2}


def test_another_tenant_is_not_ours(tmp_path: Path):
    """Names are unique within a tenant; and a critical member that says nothing here discards the event."""
    world = World(
        tmp_path,
        'tenant = "1"\ncritical = ["tenant", "group"]\n[transmitters.idp.subject]\nopaque = "name"\n',
    )
    user = {"format": "complex", "user": {"format": "opaque", "id": "algo-7"}}
    for more, outcome in [
        ({}, "applied"),
        ({"tenant": {"format": "opaque", "id": "1"}}, "applied"),
        ({"tenant": {"format": "opaque", "id": "2"}}, "nobody"),
        ({"tenant": {"format": "theirs"}}, "nobody"),
        ({"group": {"format": "opaque", "id": "g"}}, "nobody"),
        ({"org_unit": {"format": "opaque", "id": "g"}}, "applied"),
    ]:
        assert world.take(RISC + "account-disabled", sub_id={**user, **more}) == outcome


def test_revoked_sessions_are_those_of_before(world: World):
    """Of the user, on the device if one is named; who has authenticated since has done what was asked."""
    ids = [bytes([number]) * 16 for number in range(5)]
    world.house.live = [
        (ids[0], "algo-7", "host-1", NOW - 100),
        (ids[1], "algo-7", "host-2", NOW - 100),
        (ids[2], "algo-7", "host-1", NOW - 1000 + LEEWAY_S + 1),
        (ids[3], "algo-8", "host-1", NOW - 100),
        (ids[4], "algo-7", "host-1", NOW - 1000 + LEEWAY_S),
    ]
    unknown = {"session": {"format": "opaque", "id": "dMTlD|16008.16"}}
    alike = {"session": {"format": "opaque", "id": "24c63fb56e5a2d77a6b512616ca9fa24"}}
    for event, issued_at, subject, hit in [
        (CAEP + "session-revoked", NOW, USER, [0, 1, 2, 4]),
        (RISC + "sessions-revoked", NOW, USER, [0, 1, 2, 4]),
        (CAEP + "session-revoked", NOW, {"format": "complex", "user": USER, **unknown}, [0, 1, 2, 4]),
        (CAEP + "session-revoked", NOW, {"format": "complex", "user": USER, **alike}, [0, 1, 2, 4]),
        (CAEP + "session-revoked", NOW, {**HOST, "user": USER}, [0, 2, 4]),
        (CAEP + "session-revoked", NOW, HOST, [0, 2, 3, 4]),
        (CAEP + "session-revoked", NOW - 1000, USER, [4]),
    ]:
        world.applied.clear()
        assert world.take(event, sub_id=subject, iat=issued_at) == "applied"
        assert [each.session for each in world.applied] == [ids[number] for number in hit]
        assert len({each.id for each in world.applied}) == len(hit)


def test_D8_another_systems_session_is_nobody_however_it_looks(world: World):
    """Its ids may have the form of ours: nothing is applied, stored or told to people for them."""
    theirs = {"format": "opaque", "id": "24c63fb56e5a2d77a6b512616ca9fa24"}
    risk = {"principal": "SESSION", "current_level": "HIGH"}
    assert world.take(CAEP + "session-revoked", sub_id=theirs) == "nobody"
    assert world.take(CAEP + "risk-level-change", risk, sub_id=theirs) == "nobody"
    assert world.applied == []


# ---- What is believed, and when


def test_a_transmitter_reaches_no_further_than_it_may(tmp_path: Path):
    """What is worse than its highest level counts as that; what it may not send at all is denied."""
    world = World(
        tmp_path,
        'highest = "MEDIUM"\nevents = ["account-disabled", "account-enabled"]\n'
        '[transmitters.idp.subject]\nemail = "listed"\n'
        '[transmitters.idp.listed]\n"algo-7@firm.example" = "algo-7"\n',
    )
    world.take(RISC + "account-disabled", {"reason": "hijacking"})
    assert world.applied.told == [("account", "MEDIUM", SUBJECT, False)]
    assert world.refused(RISC + "account-purged") == "access_denied"


def test_unknown_events_are_noted(world: World):
    """An event of a kind that nobody has told us of is acknowledged and does nothing."""
    assert world.take("https://schemas.example/colour-change", {"colour": "red"}) == "noted"
    assert world.applied == []


def test_R2_the_same_set_is_the_same_signal(world: World):
    """Whoever delivers it again gives the store the name that it knows, whatever a jti holds."""
    for jti in ("a", "\u00e9 \n\x00", "x" * 512, "A"):
        for _ in range(2):
            world.take(RISC + "account-disabled", jti=jti)
    names = [each.name for each in world.applied]
    assert names[::2] == names[1::2]
    assert len(set(names)) == 4


def test_one_transmitter_cannot_use_up_anothers_names(tmp_path: Path):
    """The same jti from two of them are two signals."""
    world = World(tmp_path)
    other = Issuer(OTHER)
    text = (tmp_path / "ssf.toml").read_text()
    write_settings(tmp_path, other, name="mdm")
    (tmp_path / "ssf.toml").write_text(text + (tmp_path / "ssf.toml").read_text())
    world.receiver.replace(SsfSettings.from_directory(tmp_path))
    world.take(RISC + "account-disabled", jti="1")
    world.receiver.receive("mdm", other.set(RISC + "account-disabled", jti="1"))
    assert [each.source for each in world.applied] == ["ssf:idp", "ssf:mdm"]
    with pytest.raises(EventRefused, match="not of this transmitter"):
        world.receiver.receive("idp", other.set(RISC + "account-disabled"))


def test_R3_what_was_said_later_counts(world: World):
    """A delivery that comes late neither takes back what was said after it, nor says again what was taken
    back after it.
    """
    assert world.take(COMPLIANCE, DRIFTED, sub_id=HOST, iat=NOW) == "applied"
    assert world.take(COMPLIANCE, MENDED, sub_id=HOST, iat=NOW - 1) == "outdated"
    assert world.take(COMPLIANCE, MENDED, sub_id=HOST, iat=NOW) == "applied"
    assert world.take(COMPLIANCE, DRIFTED, sub_id=HOST, iat=NOW - 1) == "outdated"
    assert world.take(COMPLIANCE, DRIFTED, sub_id=HOST, iat=NOW) == "applied"
    # Another's device, and another kind, are other matters.
    other = {"format": "complex", "device": {"format": "opaque", "id": "mdm-0002"}}
    assert world.take(COMPLIANCE, MENDED, sub_id=other, iat=NOW - 1) == "nobody"
    assert world.take(RISC + "account-enabled", iat=NOW - 1) == "applied"


def test_R6_an_old_taking_back_is_refused(world: World):
    """Before the store forgets the names of repeats; what is against somebody may come a week late."""
    assert WITHDRAWAL_MAX_AGE_S + LEEWAY_S < KEEP_S
    assert world.take(COMPLIANCE, MENDED, sub_id=HOST, iat=NOW - WITHDRAWAL_MAX_AGE_S) == "applied"
    assert world.refused(COMPLIANCE, MENDED, sub_id=HOST, iat=NOW - WITHDRAWAL_MAX_AGE_S - 1) == (
        "invalid_request"
    )
    assert world.take(RISC + "account-purged", iat=NOW - EVENT_MAX_AGE_S) == "applied"
    assert world.refused(RISC + "account-purged", iat=NOW - EVENT_MAX_AGE_S - 1) == "invalid_request"


def test_what_is_not_stored_is_not_acknowledged(world: World):
    """The store's error reaches whoever would acknowledge; the next delivery is taken, order and all."""
    world.applied.failing = StoreError("the disk is full")
    with pytest.raises(StoreError):
        world.take(COMPLIANCE, MENDED, sub_id=HOST, iat=NOW)
    world.applied.failing = None
    assert world.take(COMPLIANCE, DRIFTED, sub_id=HOST, iat=NOW - 1) == "applied"
    assert world.receiver.counts == {("idp", "unavailable"): 1, ("idp", "applied"): 1}


def test_what_is_in_force_is_acknowledged_without_the_log(world: World, caplog: pytest.LogCaptureFixture):
    """A second delivery would change nothing, so that the audit log failed is told to the operator alone."""
    world.applied.failing = AuditError("the log's disk is full")
    assert world.take(RISC + "account-disabled") == "applied"
    [told] = [record for record in caplog.records if record.name == "ztsession.ssf"]
    assert told.levelno == logging.ERROR


def test_D8_strangers_fill_no_log_and_transmitters_forge_no_line(
    world: World, caplog: pytest.LogCaptureFixture
):
    """What anybody can send is at DEBUG; what a transmitter has signed is told, in plain ASCII."""
    world.issuer = Issuer()
    assert world.refused() == "authentication_failed"
    assert [record.levelno for record in caplog.records] == []
    world.issuer = ISSUER
    assert world.refused(COMPLIANCE, {"current_status": "\n2026 forged"}) == "invalid_request"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "\nforged" not in caplog.text
    world.take(
        RISC + "account-disabled",
        {"reason_admin": {"de": "b\u00f6se\n2026 forged", "en": "x\x1b[31m" * 99}},
        jti="\u202e",
    )
    told = world.applied[-1].evidence
    assert told["event"] == "account-disabled"
    assert told["jti"] == "?"
    assert told["reason"].startswith("x?[31m")
    assert len(told["reason"]) == 256


def test_when_it_happened_is_told(world: World):
    """As the event says, unless that is in milliseconds, or later than the SET."""
    for told, time in (
        (NOW - 50, NOW - 50),
        (NOW * 1000, NOW),
        (None, NOW),
        (NOW - 0.5, NOW - 0.5),
        (NOW + 0.5, NOW),
    ):
        world.take(RISC + "account-disabled", {} if told is None else {"event_timestamp": told})
        assert world.applied[-1].time == time


def test_an_unknown_transmitter_is_denied(world: World):
    """By the name under which it delivers, whoever has signed."""
    with pytest.raises(EventRefused) as error:
        world.receiver.receive("stranger", ISSUER.set())
    assert error.value.err == "access_denied"
    assert world.receiver.counts == {}


# ---- About the stream itself


def stream(state: Any = None, *, about: str = "s-1", **members: Any) -> dict[str, Any]:
    said = members if state is None else {"state": state, **members}
    return {"members": said, "sub_id": {"format": "opaque", "id": about}}


def test_a_verification_is_one_that_was_asked_for(world: World):
    """The text that was made up for this stream comes back; another is refused, and one without is theirs."""
    assert world.take(SSF + "verification", **stream()) == "noted"
    assert world.refused(SSF + "verification", **stream("made up")) == "invalid_state"
    expected = world.receiver.streams.expect("idp", "s-1")
    assert world.refused(SSF + "verification", **stream(expected.state, about="s-2")) == "invalid_state"
    assert world.refused(SSF + "verification", **stream(5)) == "invalid_state"
    assert world.refused(SSF + "verification", **stream("\ud800")) == "invalid_state"
    assert not expected.wait(0)
    # Delivered twice, because the first acknowledgement was lost.
    assert [world.take(SSF + "verification", **stream(expected.state)) for _ in range(2)] == ["noted"] * 2
    assert expected.wait(0)
    assert world.receiver.streams.expect("idp", "s-1").state != expected.state
    assert world.refused(SSF + "verification", sub_id=USER) == "invalid_request"
    assert expected.state not in repr(expected)


def test_a_stream_that_stops_is_told(world: World, caplog: pytest.LogCaptureFixture):
    """Its status is kept, and whoever reads the log hears of a source that is silent from now on."""
    for status, levels in (("enabled", []), ("paused", ["WARNING"]), ("disabled", ["WARNING"] * 2)):
        assert world.take(SSF + "stream-updated", **stream(status=status, reason="a\nb")) == "noted"
        assert world.receiver.streams.statuses["idp"].status == status
        assert world.receiver.streams.statuses["idp"].reason == "ab"
        assert [record.levelname for record in caplog.records] == levels
    assert world.refused(SSF + "stream-updated", **stream(status="gone")) == "invalid_request"
    assert world.refused(SSF + "stream-updated", **stream()) == "invalid_request"
    assert world.applied == []


def test_levels_are_levels(world: World):
    """A capped level is still one of ours and no number."""
    world.take(RISC + "account-purged")
    assert world.applied[0].level is Level.CRITICAL
