"""The Workload API over a real gRPC server: what is current for workloads, and for an Authority's roots."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from spiffe._proto import workload_pb2, workload_pb2_grpc

sys.path.append(str(Path(__file__).parents[1] / "identity"))
from x509_makers import BINDING, NOW, Holder, Issuer, key, uri

from ztsession.errors import ConfigurationError, HandshakeError, TransportError
from ztsession.identity import IdentityProver
from ztsession.identity.x509 import X509Evidence
from ztsession.identity.x509_files import read_roots
from ztsession.integrations.spiffe import WorkloadIdentity, refresh_bundle

ID, OTHER = "spiffe://firm.example/algo-7", "spiffe://firm.example/algo-8"


class Agent(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """A SPIFFE agent: gives everybody who asks what ``svids`` and ``bundles`` hold at that moment."""

    def __init__(self, directory: Path) -> None:
        self.svids: list[Holder] = []
        self.bundles: dict[str, bytes] = {}
        self.failure: grpc.StatusCode | None = None
        self.silent = False
        self.asked = 0
        self.address = f"unix://{directory}/agent.sock"
        self._closing = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(self, self._server)
        assert self._server.add_insecure_port(self.address)
        self._server.start()

    def FetchX509SVID(self, request, context):
        self._admit(context)
        given = [
            workload_pb2.X509SVID(
                spiffe_id="",
                x509_svid=b"".join(holder.chain),
                x509_svid_key=holder.key.private_bytes(
                    serialization.Encoding.DER,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                ),
                bundle=b"",
            )
            for holder in self.svids
        ]
        yield workload_pb2.X509SVIDResponse(svids=given)
        self._hold(context)

    def FetchX509Bundles(self, request, context):
        self._admit(context)
        yield workload_pb2.X509BundlesResponse(bundles=self.bundles)
        self._hold(context)

    def _admit(self, context) -> None:
        self.asked += 1
        if dict(context.invocation_metadata()).get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the header is missing")
        if self.failure is not None:
            context.abort(self.failure, "no identity\nissued")
        if self.silent:
            self._hold(context)

    def _hold(self, context) -> None:
        """Keep the stream open until the client leaves, as the standard has it."""
        gone = threading.Event()
        if context.add_callback(gone.set):
            while not (gone.wait(0.02) or self._closing.is_set()):
                pass

    def close(self) -> None:
        self._closing.set()
        self._server.stop(0.5).wait()


@pytest.fixture
def agent() -> Iterator[Agent]:
    # A socket's path has about a hundred bytes: pytest's own directories can be longer.
    directory = Path(tempfile.mkdtemp(prefix="zts"))
    running = Agent(directory)
    yield running
    running.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def root() -> Issuer:
    return Issuer.root()


@pytest.fixture
def served(agent: Agent, root: Issuer) -> Agent:
    agent.svids = [root.intermediate("ca").leaf(uri(ID)), root.leaf(uri(OTHER), holder=key("p384"))]
    agent.bundles = {"spiffe://firm.example": root.der}
    return agent


def test_a_workload_proves_what_the_agent_gives_it(served):
    """The first certificate counts, or the one that was asked for; the static key stays the same."""
    with WorkloadIdentity(served.address) as identity:
        assert isinstance(identity, IdentityProver)
        assert identity.subject == ID
        assert X509Evidence.from_bytes(identity.prove(BINDING)).chain == served.svids[0].chain
        assert identity.static_private == identity.static_private
        assert len(identity.static_private) == 32
        assert repr(identity) == f"WorkloadIdentity('{ID}')"
    with WorkloadIdentity(served.address, spiffe_id=OTHER, static_private=b"s" * 32) as identity:
        assert (identity.subject, identity.static_private) == (OTHER, b"s" * 32)
        assert X509Evidence.from_bytes(identity.prove(BINDING)).chain == served.svids[1].chain


def test_the_environment_says_where_the_agent_is(served, monkeypatch):
    """Without an address SPIFFE_ENDPOINT_SOCKET counts, and a wrong one is the operator's mistake."""
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", served.address)
    with WorkloadIdentity() as identity:
        assert identity.subject == ID
    for wrong in ("", "/no/scheme", "unix:///no/such/socket", "tcp://firm.example:1", "unix://"):
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", wrong)
        with pytest.raises(ConfigurationError, match="SPIFFE_ENDPOINT_SOCKET"):
            WorkloadIdentity()


def test_a_rotated_certificate_is_proven_with_at_once(served, root):
    """Each proof uses the certificate and the key that the agent has at that moment."""
    with WorkloadIdentity(served.address) as identity:
        before = X509Evidence.from_bytes(identity.prove(BINDING))
        served.svids = [root.leaf(uri(OTHER), holder=key("rsa2048"))]
        after = X509Evidence.from_bytes(identity.prove(BINDING))
        assert before.chain != after.chain == served.svids[0].chain
        assert identity.subject == OTHER


@pytest.fixture
def firm(house, served):
    """A house whose algorithm is enrolled by SPIFFE ID, with roots out of the Workload API."""
    (house.rules / "identity.toml").write_text('[x509.bundles."firm.example"]\nroots = ["firm.pem"]\n')
    entry = '[subjects."algo-7"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
    (house.rules / "subjects.toml").write_text(f'{entry}spiffe_id = "{ID}"\n')
    assert refresh_bundle(house.rules / "firm.pem", "firm.example", socket=served.address)
    house.identity = house.keep(WorkloadIdentity(served.address))
    return house


def test_a_workload_opens_sessions_while_its_certificates_and_roots_change(firm, served, root):
    """Through rotated certificates and roots the same object connects, and what is old is refused."""
    authority = firm.authority()
    session = firm.connect(authority)
    assert authority.sessions()[0].subject == "algo-7"
    served.svids = [root.leaf(uri(ID), holder=key("ed25519"))]
    assert firm.connect(authority).id != session.id
    fresh = Issuer.root("fresh", number=8)
    served.svids = [fresh.leaf(uri(ID))]
    served.bundles = {"spiffe://firm.example": fresh.der}
    with pytest.raises(HandshakeError, match="refused"):
        firm.connect(authority)
    assert refresh_bundle(firm.rules / "firm.pem", "firm.example", socket=served.address)
    authority.reload()
    firm.connect(authority)
    served.svids = [root.leaf(uri(ID))]
    with pytest.raises(HandshakeError, match="refused"):
        firm.connect(authority)


def test_H12_an_expired_certificate_of_the_agent_opens_nothing(firm, served, root):
    """An agent that gives out what has expired leads to a refusal, and to a session once it gives better."""
    authority = firm.authority()
    served.svids = [root.leaf(uri(ID), days=(-2, -1))]
    with pytest.raises(HandshakeError, match="refused"):
        firm.connect(authority)
    served.svids = [root.leaf(uri(ID))]
    firm.connect(authority)


@pytest.mark.parametrize("failure", [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE])
def test_an_agent_that_refuses_is_no_proof(served, tmp_path, failure):
    """While the agent says no there is no proof, in one line of our own error; then there is again."""
    with WorkloadIdentity(served.address) as identity:
        served.failure = failure
        for ask in (
            lambda: identity.prove(BINDING),
            lambda: WorkloadIdentity(served.address),
            lambda: refresh_bundle(tmp_path / "firm.pem", "firm.example", socket=served.address),
        ):
            with pytest.raises(TransportError, match="Workload API") as caught:
                ask()
            assert str(caught.value).isprintable()
        served.failure = None
        assert identity.prove(BINDING)


def test_an_agent_that_is_silent_or_gone_is_no_proof(served):
    """Within the time given a silent agent is an error, and so is one whose server has ended."""
    with WorkloadIdentity(served.address, timeout_s=0.2) as identity:
        served.silent = True
        began = time.monotonic()
        with pytest.raises(TransportError):
            identity.prove(BINDING)
        assert time.monotonic() - began < 5
        served.silent = False
        assert identity.prove(BINDING)
        served.close()
        with pytest.raises(TransportError):
            identity.prove(BINDING)


def test_a_closed_identity_proves_nothing(served):
    """After close() a proof is refused, and closing again is no error."""
    identity = WorkloadIdentity(served.address)
    identity.close()
    identity.close()
    with pytest.raises(TransportError):
        identity.prove(BINDING)


def test_what_the_agent_must_not_give_is_refused(served, root):
    """No certificate, garbage, somebody else's key or none for the ID that was asked for prove nothing."""
    good = served.svids[0]
    cases = [
        ([], TransportError),
        ([Holder([b"\x30\x00"], good.key)], TransportError),
        ([Holder([b""], good.key)], TransportError),
        ([Holder(good.chain, key("p256", 40))], ConfigurationError),
        ([root.leaf(uri(ID), holder=key("p521"))], ConfigurationError),
        ([root.leaf(uri("https://firm.example"))], TransportError),
    ]
    for svids, expected in cases:
        served.svids = svids
        with pytest.raises(expected):
            WorkloadIdentity(served.address)
    served.svids = [good]
    with pytest.raises(ConfigurationError, match=r"no certificate for 'spiffe://firm\.example/algo-8'"):
        WorkloadIdentity(served.address, spiffe_id=OTHER)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        WorkloadIdentity(served.address, static_private=b"short")
    WorkloadIdentity(served.address, spiffe_id=ID).close()


def test_a_bundle_is_written_once_and_in_one_order(served, root, tmp_path):
    """The same roots are the same file, whatever their order; new roots take its place as a whole."""
    path, second = tmp_path / "firm.pem", Issuer.root("second", number=8)

    def refresh() -> bool:
        return refresh_bundle(path, "firm.example", socket=served.address)

    assert refresh()
    assert [one.subject for one in read_roots(path)] == [root.certificate.subject]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not refresh()
    served.bundles = {"spiffe://firm.example": root.der + second.der, "spiffe://partner.example": second.der}
    assert refresh()
    served.bundles = {"spiffe://firm.example": second.der + root.der}
    before = path.stat()
    assert not refresh()
    assert path.stat().st_ino == before.st_ino
    assert {one.subject for one in read_roots(path)} == {root.certificate.subject, second.certificate.subject}
    assert os.listdir(tmp_path) == ["firm.pem"]


def test_what_is_no_bundle_leaves_the_roots_as_they_were(served, root, tmp_path):
    """An absent, empty, broken or unusable bundle never takes the place of a good one."""
    path = tmp_path / "firm.pem"
    assert refresh_bundle(path, "firm.example", socket=served.address)
    good = path.read_bytes()
    cases = [
        ({}, TransportError),
        ({"spiffe://other.example": root.der}, ConfigurationError),
        ({"spiffe://firm.example": b""}, TransportError),
        ({"spiffe://firm.example": b"\x30\x00"}, TransportError),
        ({"spiffe://firm.example": root.der + root.leaf(uri(ID)).chain[0]}, ConfigurationError),
        ({"spiffe://firm.example": Issuer.root(kind="ed25519").der}, ConfigurationError),
    ]
    for bundles, expected in cases:
        served.bundles = bundles
        with pytest.raises(expected):
            refresh_bundle(path, "firm.example", socket=served.address)
        assert path.read_bytes() == good
    assert os.listdir(tmp_path) == ["firm.pem"]


def test_a_bundle_that_cannot_be_written_is_the_operators_mistake(served, tmp_path):
    """A directory that is none, or a trust domain that is no name, is told, and nothing is left behind."""
    with pytest.raises(ConfigurationError, match="cannot be written"):
        refresh_bundle(tmp_path / "absent" / "firm.pem", "firm.example", socket=served.address)
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        refresh_bundle(tmp_path / "taken", "firm.example", socket=served.address)
    for name in ("", "Firm.example", "spiffe://firm.example", "../firm"):
        asked = served.asked
        with pytest.raises(ConfigurationError, match="trust_domain: expected"):
            refresh_bundle(tmp_path / "firm.pem", name, socket=served.address)
        assert served.asked == asked
    assert os.listdir(tmp_path) == ["taken"]
    assert refresh_bundle(tmp_path / "firm.pem", "firm.example", socket=served.address)


def test_a_full_disk_leaves_the_roots_as_they_were(served, root, tmp_path, monkeypatch):
    """When the new file cannot be made durable the old one stays, alone."""
    path = tmp_path / "firm.pem"
    path.write_bytes(root.pem + root.pem)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigurationError, match="No space left"):
            refresh_bundle(path, "firm.example", socket=served.address)
    assert (os.listdir(tmp_path), path.read_bytes()) == (["firm.pem"], root.pem + root.pem)
    assert refresh_bundle(path, "firm.example", socket=served.address)
    assert path.read_bytes() == root.pem


def test_makers_are_of_today():
    """The certificates of these tests are valid by the real clock, which whole handshakes run by."""
    assert abs(NOW.timestamp() - time.time()) < 3600
