"""The release gate: what comes through is what was tested, byte for byte, and nothing else does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ztsession.demo
from ztsession.audit.entry import decode_entry
from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.demo.calls import Calls
from ztsession.demo.promotion import LAB_RUN_LABEL, Answer, LabRun, Promotion
from ztsession.demo.release_gate import ReleaseGate
from ztsession.demo.service import open_point
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import AuditError, ConfigurationError, WireError
from ztsession.hazmat import sha256
from ztsession.policy.catalog import Catalog
from ztsession.testing import TestAuthority
from ztsession.tickets import SegmentKey
from ztsession.wire.signature import SeedSigner, Signed

POLICY = Path(ztsession.demo.__file__).parent / "policy"
SEGMENT = Catalog.load(POLICY / "catalog.toml").segment("release")
PACKAGE = b"print(1)\n"
PROMOTE = "release.promote"


class World:
    """A gate between two directories, a lab's key, and somebody who may promote."""

    def __init__(self, home: Path) -> None:
        self.environments, self.log = home, home / "audit.jsonl"
        for name in ("test", "prod"):
            (home / name).mkdir()
        (home / "test" / "maker").write_bytes(PACKAGE)
        self.lab = SeedSigner(os.urandom(32))
        self.authority = TestAuthority(SEGMENT)
        self.point = EnforcementPoint("release", authority=self.authority, environment="prod", capacity=8)
        self.client = self.authority.connect(self.point, self.authority.grant(assurance=2, subject="person"))
        self.audit = JsonLinesAudit(self.log)
        self.open(self.audit)

    def open(self, audit: Any) -> None:
        gate = ReleaseGate(
            SEGMENT,
            SEGMENT.operation("promote"),
            self.environments,
            lab=self.lab.public_key,
            audit=audit,
        )
        self.calls = Calls(self.point, PROMOTE, gate.promote)

    def asked(self, **run: Any) -> Promotion:
        """A promotion that is as it should be, but for what is told of its test run."""
        digest = sha256(PACKAGE)
        tested = replace(LabRun("maker", digest, "test", 200, 0), **run)
        evidence = Signed.make(self.lab, LAB_RUN_LABEL, tested.encoded).encoded
        return Promotion("maker", digest, "test", "prod", evidence)

    def promote(self, body: bytes) -> str:
        token = self.client.sign(PROMOTE, body)
        frame = self.calls.exchange(token + body)
        self.client.open_reply(frame[:48], frame[48:])
        answer = Answer.from_bytes(frame[48:])
        assert answer.answers == int.from_bytes(token[16:24], "little")
        return answer.outcome

    def logged(self) -> list[dict[str, Any]]:
        entries = [decode_entry(line) for line in self.log.read_bytes().splitlines()]
        return [entry for entry in entries if entry is not None]

    def production(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.environments / "prod").iterdir()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.point.close()
    made.audit.close()


def test_what_was_tested_is_promoted(world: World) -> None:
    """The package lies in production as it lay in test, and the log says who asked and what it was."""
    assert world.promote(world.asked().to_bytes()) == "done"
    assert world.production() == {"maker": PACKAGE}
    [entry] = world.logged()
    assert entry["event"] == "release.promoted"
    assert (entry["subject"], entry["device"], entry["session"]) == (
        "person",
        "host-1",
        world.client.grant.session.hex(),
    )
    assert (entry["artifact"], entry["sha256"]) == ("maker", sha256(PACKAGE).hex())
    assert (entry["source"], entry["target"]) == ("test", "prod")


def signed_by(seed: bytes, label: str = LAB_RUN_LABEL) -> Callable[[World], bytes]:
    def asked(world: World) -> bytes:
        run = Signed.from_bytes(world.asked().evidence).body
        evidence = Signed.make(SeedSigner(seed or world.lab.seed), label, run).encoded
        return replace(world.asked(), evidence=evidence).to_bytes()

    return asked


def but(**values: Any) -> Callable[[World], bytes]:
    return lambda world: replace(world.asked(), **values).to_bytes()


def of_a_run(**values: Any) -> Callable[[World], bytes]:
    return lambda world: world.asked(**values).to_bytes()


def lying_there(change: Callable[[Path], object]) -> Callable[[World], bytes]:
    def asked(world: World) -> bytes:
        change(world.environments / "test" / "maker")
        return world.asked().to_bytes()

    return asked


def as_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def renamed(path: Path) -> None:
    path.rename(path.with_name("other"))


OTHER = sha256(b"another package")


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        (but(source="prod", target="test"), "from test to prod"),
        (but(target="test"), "from test to prod"),
        (but(sha256=OTHER), "another package's"),
        (but(artifact="other"), "another package's"),
        (of_a_run(sha256=OTHER), "another package's"),
        (of_a_run(artifact="other"), "another package's"),
        (of_a_run(environment="prod"), "another package's"),
        (of_a_run(faults=1), "1 faults in 200 states"),
        (of_a_run(states=0), "0 faults in 0 states"),
        (signed_by(b"x" * 32), "the signature does not hold"),
        (signed_by(b"", "demo other"), "the signature does not hold"),
        (but(evidence=b""), "message"),
        (lambda world: world.asked().to_bytes() + b"\0", ""),
        (lambda world: world.asked().to_bytes().replace(b"maker", b"../me"), "promotion.artifact"),
        (lambda world: b"", ""),
        (lying_there(lambda path: path.write_bytes(PACKAGE + b"#")), "is not the package that was tested"),
        (lying_there(Path.unlink), "cannot be read"),
        (lying_there(renamed), "cannot be read"),
        (lying_there(as_a_link), "cannot be read"),
    ],
)
def test_what_was_not_tested_stays_out(world: World, asked: Callable[[World], bytes], cause: str) -> None:
    """Whatever is wrong with the form, the test run or the package, nothing comes into production, the caller
    hears one word, and the log says why.
    """
    assert world.promote(asked(world)) == "refused"
    assert world.production() == {}
    [entry] = world.logged()
    assert (entry["event"], entry["subject"]) == ("release.refused", "person")
    assert cause in entry["cause"]


def test_a_refusal_leaves_what_is_in_production(world: World) -> None:
    """A package that was promoted stays when its successor is refused, and gives way when that is tested."""
    assert world.promote(world.asked().to_bytes()) == "done"
    (world.environments / "test" / "maker").write_bytes(b"print(2)\n")
    assert world.promote(world.asked().to_bytes()) == "refused"
    assert world.production() == {"maker": PACKAGE}
    successor = replace(world.asked(sha256=sha256(b"print(2)\n")), sha256=sha256(b"print(2)\n"))
    assert world.promote(successor.to_bytes()) == "done"
    assert world.production() == {"maker": b"print(2)\n"}


def test_what_cannot_be_logged_does_not_happen(world: World) -> None:
    """Without a log nothing is promoted."""

    class Full:
        def record(self, event: str, **fields: object) -> None:
            raise AuditError("no space left")

    world.open(Full())
    with pytest.raises(AuditError):
        world.promote(world.asked().to_bytes())
    assert world.production() == {}


def test_calls_are_counted_by_verdict(world: World) -> None:
    """A replay, another's body and a call that is no call each get a word and no answer; the core counts
    the same.
    """
    body = world.asked().to_bytes()
    frame = world.client.sign(PROMOTE, body) + body
    assert Answer.from_bytes(world.calls.exchange(frame)[48:]).outcome == "done"
    assert world.calls.exchange(frame) == b"refused"
    assert world.calls.exchange(world.client.sign(PROMOTE, body) + body[:-1]) == b"refused"
    assert world.calls.exchange(frame[:20]) == b"malformed"
    assert world.calls.counts()["verdicts"] == {"OK": 1, "REPLAYED": 1, "BAD_TAG": 1, "MALFORMED": 1}
    assert world.calls.counts()["core"] == {"REPLAYED": 1, "BAD_TAG": 1, "MALFORMED": 1}
    assert len(world.logged()) == 1


def test_promotions_come_in_order(world: World) -> None:
    """One that was held back on the way does not count any more once a later one has come."""
    body = world.asked().to_bytes()
    held_back = world.client.sign(PROMOTE, body) + body
    assert world.promote(body) == "done"
    assert world.calls.exchange(held_back) == b"refused"
    assert world.calls.verdicts == {"OK": 1, "REPLAYED": 1}


def test_a_service_opens_no_point_of_another_environment(tmp_path: Path) -> None:
    """Whoever starts the gate in test with production's segment, or the lab the other way round, hears of
    it.
    """
    for segment, environment in (("release", "test"), ("lab", "prod")):
        key = tmp_path / f"{segment}.toml"
        SegmentKey.generate(segment).to_file(key)
        with pytest.raises(ConfigurationError, match="is of environment"):
            open_point(
                segment,
                authority=["127.0.0.1", 1],
                catalog=str(POLICY / "catalog.toml"),
                key=str(key),
                ticket_key=bytes(32).hex(),
                environment=environment,
            )


@pytest.mark.parametrize("name", ["", "Maker", "../maker", "maker/2", ".maker", "maker.", "2maker", "m" * 33])
def test_names_lead_nowhere_else(name: str) -> None:
    """A package's name is the name of a file in one directory, and of nothing else."""
    with pytest.raises(WireError, match="artifact"):
        Promotion(name, bytes(32), "test", "prod", b"")
    assert Promotion("m" + "a-2" * 10, bytes(32), "test", "prod", b"")
