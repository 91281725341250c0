"""Keys are replaced while everything goes on, and what was retired is good for nothing."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.audit.sink import MemoryAudit
from ztsession.authority.changes import ChangeLog
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.rotation import KEY_OVERLAP_S, Rotation
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedAnswer, FeedRequest
from ztsession.clock import FakeClock
from ztsession.enforcement.believed import KEYS_MAX, Believed
from ztsession.errors import AuditError, ConfigurationError, HandshakeError, InstallationError, StoreError
from ztsession.policy.catalog import Catalog
from ztsession.store.sqlite import KEEP_S, SqliteStore
from ztsession.tickets import SegmentKey
from ztsession.wire.signature import SeedSigner

DAY = KEY_OVERLAP_S


class Site:
    """An Authority whose clock the test holds, and points that hear it over a connection."""

    def __init__(self, house: Any) -> None:
        self.house, self.clock = house, FakeClock()
        house.device = zts.DevicePosture(
            "host-1", house.device.signing_seed, measure=dict, clock=self.clock.time
        )
        self.authority = house.authority(clock=self.clock.time)
        self.keys, self.audit = self.authority.keys, self.authority._audit
        self.changes = self.authority._changes
        self.rotation = Rotation(self.keys, self.changes, self.audit, clock=self.clock.time)
        self.answer: Callable[[bytes], bytes] = self.authority.feed
        self.key_file = self.authority.segment_key_file("orders")
        self.pin = self.authority.ticket_key

    def point(self, *pins: bytes, files: list[Path] | None = None) -> zts.EnforcementPoint:
        """A point that starts now, with these keys pinned; the first one of all if none is given."""
        segment = Catalog.load(self.house.rules / "catalog.toml").segment("orders")
        remote = zts.RemoteAuthority(
            lambda: self,
            segment=segment,
            segment_key=[SegmentKey.from_file(path) for path in files or [self.key_file]],
            ticket_key=pins or self.pin,
        )
        point = self.house.point(remote, manual_clock=True, wall_clock=self.clock.time)
        self.clock.follow(point.table)
        point.maintain()
        return point

    def exchange(self, message: bytes) -> bytes:
        return self.answer(message)

    def session(self) -> zts.Session:
        return self.house.connect(self.authority)

    def installs(self, session: zts.Session, point: zts.EnforcementPoint) -> bool:
        """Whether a session's ticket is taken; the point's own log says why not."""
        try:
            session.install(point, "orders")
        except InstallationError:
            return False
        return True

    def activated(self) -> bytes:
        """The next signing key, staged and activated after its overlap."""
        self.rotation.stage_signing_key()
        self.clock.advance(DAY)
        return self.rotation.activate_signing_key()


@pytest.fixture
def site(house: Any, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(house)
    # A client looks at its own clock to see whether a certificate is good.
    monkeypatch.setattr("ztsession.client.conversation.time", made.clock)
    return made


# ---- The static key


def test_a_new_static_key_answers_at_once_and_the_old_one_renews(site: Site):
    """Clients connect to the new key under the same root; who was connected renews until the overlap ends."""
    session, idle = site.session(), site.session()
    before = site.keys.static_public
    after = site.rotation.rotate_static(overlap_s=100)
    assert after == site.keys.static_public != before
    assert site.session().renew()
    site.clock.advance(99)
    renewed = session.renew()
    assert renewed
    site.clock.advance(1)
    with pytest.raises(HandshakeError):
        idle.renew()
    assert site.session().renew()


def test_a_static_key_too_many_is_not_made_and_not_audited(site: Site):
    """What is refused is not in the log as done, and the error says what to do."""
    for _ in range(7):
        site.rotation.rotate_static()
    ring, log = site.keys.ring, (site.house.state / "audit.jsonl").read_bytes()
    with pytest.raises(ConfigurationError, match="shorter overlap"):
        site.rotation.rotate_static()
    assert (site.keys.ring, (site.house.state / "audit.jsonl").read_bytes()) == (ring, log)
    site.rotation.rotate_static(overlap_s=0)
    assert len(site.keys.ring.static) == 1


def test_H12_certificates_follow_the_static_key(site: Site):
    """The certificate that is offered is over the key of now, and one over the old key fits it no more."""
    from ztsession.identity import certificate

    old = site.authority.certificate()
    site.rotation.rotate_static()
    new, root, now = site.authority.certificate(), site.authority.root, site.clock.time()
    assert certificate.verify(new, root, site.keys.static_public, now)
    with pytest.raises(zts.errors.EvidenceError, match="another static key"):
        certificate.verify(old, root, site.keys.static_public, now)
    with pytest.raises(zts.errors.EvidenceError, match="expired"):
        certificate.verify(new, root, site.keys.static_public, now + 31 * 86400)


# ---- The signing key


def test_A14_tickets_go_on_across_the_rotation_of_the_signing_key(site: Site):
    """A running point takes tickets of the old key and of the new, and never misses an answer."""
    point, early = site.point(), site.session()
    key = site.rotation.stage_signing_key()
    assert point.maintain()
    assert site.authority.ticket_key == site.pin
    site.clock.advance(DAY)
    assert site.rotation.activate_signing_key() == site.authority.ticket_key == key
    assert point.maintain()
    late = site.session()
    assert site.installs(late, point)
    assert site.installs(site.session(), point)
    assert not site.installs(early, point)  # a day old: expired, whoever signed it


def test_A14_a_ticket_of_the_old_key_passes_during_the_overlap_and_not_after(site: Site):
    """Until the old key is retired its tickets are good, at points old and new; then at none."""
    point = site.point()
    site.rotation.stage_signing_key()
    site.clock.advance(DAY)
    point.maintain()
    tickets = [site.session() for _ in range(3)]  # of the old key
    key = site.rotation.activate_signing_key()
    assert site.installs(tickets[0], point)
    fresh = site.point(key)
    # Given the new key alone, it learns of the old one from the feed.
    assert site.installs(tickets[1], fresh)
    site.rotation.retire_signing_key(overlap_s=0)
    for each in (point, fresh):
        assert each.maintain()
        assert not site.installs(tickets[2], each)
        assert site.installs(site.session(), each)


def test_a_point_restarted_with_the_old_key_works_until_the_new_one_is_activated(
    site: Site, caplog: pytest.LogCaptureFixture
):
    """During the overlap it is told what to change, and does its work; after it, it says why it does not."""
    key = site.rotation.stage_signing_key()
    point = site.point()
    assert "announces the signing key " + key.hex() in caplog.text
    assert site.installs(site.session(), point)
    site.clock.advance(DAY)
    site.rotation.activate_signing_key()
    assert point.maintain()
    caplog.clear()
    restarted = site.point()
    assert not restarted.maintain()
    assert not site.installs(site.session(), restarted)
    assert "the signature does not hold" in caplog.text
    assert "ticket_key" in caplog.text
    assert site.installs(site.session(), site.point(site.pin, key))


def test_a_retired_key_stays_retired_however_it_is_given(site: Site):
    """Pinned by an old configuration, or announced once more: what the feed ended is believed no more."""
    key = site.activated()
    stolen = SeedSigner(site.keys.ring.signing[0].seed)
    assert stolen.public_key == site.pin
    point = site.point(site.pin, key)
    site.rotation.retire_signing_key(overlap_s=0)
    assert point.maintain()
    site.changes.publish([site.changes.write_signing_key(site.pin)])
    assert point.maintain()
    restarted = site.point(site.pin, key)
    for each in (point, restarted):
        site.answer = lambda data: empty(data).sign(stolen)
        assert not each.maintain()
        site.answer = site.authority.feed
        assert each.maintain()


def test_R5_a_forged_announcement_changes_nothing(site: Site):
    """A push, a stranger's answer and one with a flipped byte name no key that is believed."""
    point, thief = site.point(), SeedSigner(b"t" * 32)
    before = point._listener._believed.keys
    change = Change.signing_key(thief.public_key, number=1).to_bytes()
    point._listener.apply(Change.from_bytes(change))
    for forge in (
        lambda data: told(data, [change]).sign(thief),
        lambda data: flipped(told(data, [change]).sign(thief)),
    ):
        site.answer = forge
        assert not point.maintain()
    assert point._listener._believed.keys == before
    site.answer = site.authority.feed
    key = site.rotation.stage_signing_key()
    assert point.maintain()
    assert point._listener._believed.keys == (*before, key)


def test_R6_a_replayed_announcement_changes_nothing(site: Site):
    """A recorded answer that announces a key answers no other question, nor brings a withdrawn key back."""
    point, recorded = site.point(), list[bytes]()

    def record(data: bytes) -> bytes:
        recorded.append(site.authority.feed(data))
        return recorded[-1]

    site.answer = record
    key = site.rotation.stage_signing_key()
    assert point.maintain()
    assert key in point._listener._believed.keys
    assert site.rotation.withdraw_signing_key() == key
    assert point.maintain()
    site.answer = lambda _: recorded[0]
    assert not point.maintain()
    assert point._listener._believed.keys == (site.pin,)
    site.answer = site.authority.feed
    assert site.rotation.stage_signing_key() != key


def test_a_step_of_the_signing_key_waits_for_its_overlap(site: Site):
    """Too early is told with the time from which on it is due; staging twice is staging once."""
    with pytest.raises(ConfigurationError, match="no signing key that is next"):
        site.rotation.activate_signing_key()
    key = site.rotation.stage_signing_key()
    assert site.rotation.stage_signing_key() == key
    with pytest.raises(ConfigurationError, match="already: withdraw it"):
        site.rotation.stage_signing_key(signer=SeedSigner(b"s" * 32))
    site.clock.advance(DAY - 1)
    with pytest.raises(ConfigurationError, match=r"its overlap lasts until \d{4}-.* UTC"):
        site.rotation.activate_signing_key()
    with pytest.raises(ConfigurationError, match="no signing key that is old"):
        site.rotation.retire_signing_key()
    site.clock.advance(1)
    assert site.rotation.activate_signing_key() == key
    with pytest.raises(ConfigurationError, match="its overlap lasts until"):
        site.rotation.retire_signing_key()
    site.clock.advance(DAY)
    assert site.rotation.retire_signing_key() == site.pin
    assert [entry.public for entry in site.keys.ring.signing] == [key]


def test_a_signing_key_may_move_to_a_signer_elsewhere(site: Site):
    """Staged with a Signer, the key is announced and used, and its seed is never here."""
    elsewhere = SeedSigner(b"e" * 32)
    point = site.point()
    assert site.rotation.stage_signing_key(signer=elsewhere) == elsewhere.public_key
    site.clock.advance(DAY)
    assert point.maintain()
    site.rotation.activate_signing_key()
    site.rotation.retire_signing_key(overlap_s=0)
    assert [entry.seed for entry in site.keys.ring.signing] == [b""]
    assert point.maintain()
    assert site.installs(site.session(), point)
    site.authority.close()
    with pytest.raises(ConfigurationError, match="give its Signer"):
        AuthorityKeys.open(site.house.state)
    assert AuthorityKeys.open(site.house.state, signers=[elsewhere]).signing_public == elsewhere.public_key


def test_a_signer_that_signs_with_another_key_is_not_staged(site: Site):
    """Before a key is announced it has to show that it signs."""

    class Wrong:
        public_key = SeedSigner(b"a" * 32).public_key
        sign = SeedSigner(b"b" * 32).sign

    with pytest.raises(ConfigurationError, match="does not sign with its public key"):
        site.rotation.stage_signing_key(signer=Wrong())
    assert site.changes._last == 0


def test_a_key_that_is_or_was_in_use_is_not_staged_again(site: Site):
    """Its end would end the key of now, or no point would believe it: nothing is told, nothing changes."""
    one, two = SeedSigner(b"\x01" * 32), SeedSigner(b"\x02" * 32)
    for signer in (one, two):
        site.rotation.stage_signing_key(signer=signer)
        site.rotation.activate_signing_key(overlap_s=0)
    for signer in (one, two):  # one is old, two is current
        ring, told = site.keys.ring, site.authority._store.last_change()
        with pytest.raises(ConfigurationError, match="another key"):
            site.rotation.stage_signing_key(signer=signer)
        assert (site.keys.ring, site.authority._store.last_change()) == (ring, told)
    for _ in range(2):
        site.rotation.retire_signing_key(overlap_s=0)
    with pytest.raises(ConfigurationError, match="another key"):
        site.rotation.stage_signing_key(signer=one)
    assert site.rotation.stage_signing_key(signer=SeedSigner(b"\x03" * 32))
    assert site.installs(site.session(), site.point(two.public_key))


def test_what_was_said_of_keys_is_said_again_before_it_is_forgotten(site: Site):
    """Months later a point that starts anew knows which keys are good and which are over."""
    key = site.activated()
    retired = site.rotation.retire_signing_key(overlap_s=0)
    for _ in range(3):
        site.clock.advance(KEEP_S + 60)
        site.changes.prune(int(site.clock.time()))
        site.changes.prune(int(site.clock.time()))
    point = site.point(retired, key)
    assert point._listener._believed.keys == (key,)
    staged = site.rotation.stage_signing_key()
    site.clock.advance(KEEP_S + 60)
    site.changes.prune(int(site.clock.time()))
    assert site.point(key)._listener._believed.keys == (key, staged)


# ---- A segment's key


def test_K6_a_ticket_under_a_rotated_key_passes_and_under_a_retired_one_is_refused(site: Site):
    """Old and new tickets are taken during the overlap; then the old key opens nothing, file or no file."""
    old_file, before = site.key_file, site.session()
    kept = shutil.copy(old_file, site.house.rules / "kept.toml")
    new_file = site.rotation.stage_segment_key("orders")
    assert new_file.stat().st_mode & 0o077 == 0
    point, stubborn = site.point(files=[old_file, new_file]), site.point(files=[old_file])
    assert site.installs(before, point)
    olds = [site.session() for _ in range(3)]
    site.rotation.activate_segment_key("orders")
    after = site.session()
    assert site.installs(olds[0], point)
    assert site.installs(after, point)
    assert not site.installs(after, stubborn)
    assert site.installs(olds[1], stubborn)
    with pytest.raises(ConfigurationError, match="the old key of segment 'orders': its overlap lasts until"):
        site.rotation.retire_segment_key("orders")
    site.rotation.retire_segment_key("orders", overlap_s=0)
    for each in (point, stubborn, site.point(files=[kept, new_file])):
        assert each.maintain()
        assert not site.installs(olds[2], each)
    assert site.installs(site.session(), point)


def test_K6_a_point_in_the_authoritys_process_follows_by_itself(site: Site):
    """Whoever asks the Authority itself for keys has the next one before tickets are sealed to it."""
    with zts.EnforcementPoint("orders", authority=site.authority, wall_clock=site.clock.time) as point:
        old = [site.session() for _ in range(2)]
        site.rotation.stage_segment_key("orders")
        site.rotation.activate_segment_key("orders")
        assert site.installs(old[0], point)
        assert site.installs(site.session(), point)
        site.rotation.retire_segment_key("orders", overlap_s=0)
        assert not site.installs(old[1], point)
        assert site.installs(site.session(), point)


def test_a_running_point_is_handed_its_next_key(site: Site):
    """A key that is added takes effect with the next ticket; another segment's key is refused."""
    point = site.point()
    new_file = site.rotation.stage_segment_key("orders")
    site.rotation.activate_segment_key("orders")
    session = site.session()
    assert not site.installs(session, point)
    point.authority.add_segment_key(SegmentKey.from_file(new_file))
    assert site.installs(session, point)
    with pytest.raises(ConfigurationError, match="enforces segment 'orders', not 'md'"):
        point.authority.add_segment_key(SegmentKey.generate("md"))


def test_steps_of_a_segment_key_come_in_their_order(site: Site):
    """What is not staged is not activated, what is not old is not retired; staging twice is staging once."""
    with pytest.raises(ConfigurationError, match="no key of segment 'nowhere' that is current"):
        site.rotation.stage_segment_key("nowhere")
    with pytest.raises(ConfigurationError, match="no key of segment 'orders' that is next"):
        site.rotation.activate_segment_key("orders")
    path = site.rotation.stage_segment_key("orders")
    assert site.rotation.stage_segment_key("orders") == path
    site.rotation.withdraw_segment_key("orders")
    assert not path.exists()
    assert site.rotation.stage_segment_key("orders") != path
    site.rotation.activate_segment_key("orders")
    site.clock.advance(DAY)
    site.rotation.retire_segment_key("orders")
    assert not site.key_file.exists()
    with pytest.raises(ConfigurationError, match="no key of segment 'orders' that is old"):
        site.rotation.retire_segment_key("orders")


# ---- Audit, status, crashes


class FailingAudit(MemoryAudit):
    def record(self, event: str, **fields: object) -> None:
        raise AuditError("the disk is full")


def test_every_step_is_audited_and_none_gives_without(site: Site):
    """Each step is one entry without a secret; none is made without it, and old ones end all the same."""
    first, unaudited = (
        site.audit._next,
        Rotation(site.keys, site.changes, FailingAudit(), clock=site.clock.time),
    )
    before = site.keys.ring
    for step in (
        unaudited.rotate_static,
        unaudited.stage_signing_key,
        lambda: unaudited.stage_segment_key("orders"),
    ):
        with pytest.raises(AuditError):
            step()
    assert (site.keys.ring, AuthorityKeys.open(site.house.state).ring) == (before, before)
    site.rotation.rotate_static()
    site.rotation.stage_segment_key("orders")
    site.rotation.activate_segment_key("orders")
    site.activated()
    with pytest.raises(AuditError):
        unaudited.retire_segment_key("orders", overlap_s=0)
    with pytest.raises(AuditError):
        unaudited.retire_signing_key(overlap_s=0)
    assert len(site.keys.ring.signing) == len(site.keys.ring.segments["orders"]) == 1
    log = (site.house.state / "audit.jsonl").read_text().splitlines()[first - 1 :]
    assert [line.split('"event":"')[1].split('"')[0] for line in log] == [
        "rotation.static",
        "rotation.segment.staged",
        "rotation.segment.activated",
        "rotation.signing.staged",
        "rotation.signing.activated",
    ]


def test_status_tells_every_key_and_no_secret(site: Site):
    """One line for each key, with how far it has come."""
    site.rotation.stage_segment_key("orders")
    site.rotation.rotate_static()
    staged = site.rotation.stage_signing_key()
    lines = site.keys.ring.told()
    text = "\n".join(lines)
    assert f"signing {staged.hex()} next since 2030-" in text
    assert [line.split()[0] for line in lines].count("segment") == 2
    assert site.keys.static.hex() not in text
    assert len(lines) == 7


def test_a_step_that_cannot_be_written_is_not_taken(site: Site):
    """When the disk fails, everything is as it was."""
    before = site.keys.ring
    (site.house.state / "keys.sealed").rename(site.house.state / "elsewhere")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        site.rotation.rotate_static()
    (site.house.state / "elsewhere").rename(site.house.state / "keys.sealed")
    assert site.keys.ring == before
    site.keys.directory = site.house.state / "nowhere"
    with pytest.raises(StoreError, match="cannot be locked"):
        site.rotation.rotate_static()
    site.keys.directory = site.house.state
    assert site.rotation.rotate_static() != before.static[0].private


#: What is done before each step, and how the keyring looks after it: signing keys, keys of orders.
STEPS = {
    "rotate_static": ((), ["current"], ["current"]),
    "stage_signing_key": ((), ["current", "next"], ["current"]),
    "activate_signing_key": (("stage_signing_key",), ["old", "current"], ["current"]),
    "retire_signing_key": (("stage_signing_key", "activate_signing_key"), ["current"], ["current"]),
    "withdraw_signing_key": (("stage_signing_key",), ["current"], ["current"]),
    "stage_segment_key": ((), ["current"], ["current", "next"]),
    "activate_segment_key": (("stage_segment_key",), ["current"], ["old", "current"]),
    "retire_segment_key": (("stage_segment_key", "activate_segment_key"), ["current"], ["current"]),
    "withdraw_segment_key": (("stage_segment_key",), ["current"], ["current"]),
}


@pytest.mark.parametrize("what", STEPS)
def test_kill_9_in_the_middle_of_a_step_leaves_keys_that_work(tmp_path: Path, what: str):
    """Killed at whatever system call, the keys open, and the step taken again comes to its end."""
    before, signing, orders = STEPS[what]
    template = tmp_path / "template"
    keys = AuthorityKeys.open(template)
    keys.segment("orders")
    for name in before:
        taken(name, template)
    states = killed(what, template, tmp_path / "states")
    assert len(states) > 8
    for state in states:
        if not finished(what, state, keys):
            taken(what, state)
        ring = AuthorityKeys.open(state).ring
        assert ring.root_public == keys.root_public
        assert [key.state for key in ring.signing] == signing
        assert [pair.state for pair in ring.segments["orders"]] == orders
        assert not list(state.rglob(".*"))
        check_feed(state, ring)


def taken(what: str, state: Path) -> None:
    from killed_at_each_step import take

    take(what, state)


def finished(what: str, state: Path, template: AuthorityKeys) -> bool:
    """Whether a step came to its end before it was killed, so that there is nothing left to take again."""
    ring = AuthorityKeys.open(state).ring
    if what == "rotate_static":
        return ring.static[0] != template.ring.static[0]
    kind = ring.signing if "signing" in what else ring.segments["orders"]
    left = {"stage": "next", "activate": "next", "retire": "old", "withdraw": "next"}[what.split("_")[0]]
    is_there = any(entry.state == left for entry in kind)
    return is_there if what.startswith("stage") else not is_there


def check_feed(state: Path, ring: Any) -> None:
    """A point with any key of this Authority believes just what the keyring has, once it has heard."""
    with SqliteStore(state / "authority.sqlite") as store:
        stored = [Change.from_bytes(row.data) for row in store.changes_after(0)]
    believed = Believed("orders", [key.public for key in ring.signing if key.state == "current"])
    for change in stored:
        if change.what == "signing-key":
            believed.announce(change.key)
        elif change.what == "retire-key":
            believed.retire(change.key)
    assert set(believed.keys) == {key.public for key in ring.signing}


def killed(what: str, template: Path, where: Path) -> list[Path]:
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


def test_the_command_line_and_a_later_authority_agree(tmp_path: Path):
    """What one process rotated, the next one opens with."""
    keys = AuthorityKeys.open(tmp_path)
    audit = JsonLinesAudit(tmp_path / "audit.jsonl")
    with SqliteStore(tmp_path / "authority.sqlite") as store, audit:
        rotation = Rotation(keys, ChangeLog(store, keys.signing), audit)
        staged = rotation.stage_signing_key()
        assert rotation.activate_signing_key(overlap_s=0) == staged
    assert AuthorityKeys.open(tmp_path).signing_public == staged


def test_a_point_is_given_keys_that_are_some(caplog: pytest.LogCaptureFixture):
    """None, too many, and bytes that are no key are the operator's mistake; the feed's excess is refused."""
    for pinned in ([], [b"short"], [bytes(32)], [SeedSigner(bytes([n]) * 32).public_key for n in range(9)]):
        with pytest.raises(ConfigurationError, match="ticket_key"):
            Believed("orders", pinned)
    believed = Believed("orders", [SeedSigner(bytes(32)).public_key])
    with caplog.at_level(logging.ERROR):
        for n in range(1, KEYS_MAX + 1):
            believed.announce(SeedSigner(bytes([n]) * 32).public_key)
    assert len(believed.keys) == KEYS_MAX
    assert "more than 8 signing keys" in caplog.text


def empty(data: bytes) -> FeedAnswer:
    return told(data, [])


def told(data: bytes, changes: list[bytes]) -> FeedAnswer:
    asked = FeedRequest.from_bytes(data)
    return FeedAnswer(asked.segment, asked.nonce, asked.after, changes, complete=True)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])
