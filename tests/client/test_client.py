"""The client's side: a session and its installations, what they refuse, and what they never show."""

from __future__ import annotations

import threading
from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import (
    BadTag,
    ConfigurationError,
    EvidenceError,
    HandshakeError,
    Replayed,
    SequenceExhausted,
    SessionEnded,
    StepUpRequired,
    TransportError,
    UnknownSession,
    WireError,
)
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import CookieDemand, Hello, Offer, Outcome, Proof
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.states import start_responder
from ztsession.identity import certificate
from ztsession.limits import SEQUENCE_MAX
from ztsession.testing import pair
from ztsession.wire.signature import SeedSigner, public_key

STATIC, ROOT = b"a" * 32, b"r" * 32
COOKIE = b"c" * 32


class Authority:
    """The other end of a handshake, that answers with whatever outcome it is told to."""

    def __init__(self, *outcomes: Outcome, not_after: int = 2**40, demand: bool = False) -> None:
        self._outcomes, self._demand, self._state = list(outcomes), demand, None
        static = DhKeyPair(STATIC).public
        self._certificate = certificate.issue(SeedSigner(ROOT), static, "authority", 0, not_after)
        self.hellos: list[Hello] = []
        self.proof: Proof | None = None

    def exchange(self, message: bytes) -> bytes:
        if self._state is not None:
            payload, channel = self._state.read(message)
            self.proof, self._state = Proof.from_bytes(payload), None
            return channel.seal(self._outcomes.pop(0).to_bytes())
        received = start_responder(STATIC, message)
        self.hellos.append(Hello.from_bytes(received.payload))
        if self._demand and not self.hellos[-1].cookie:
            return CookieDemand(COOKIE).to_bytes()
        offer = Offer(self._certificate, ["identity"], b"n" * 32)
        answer, self._state = received.write(offer.to_bytes())
        return answer


class Says:
    def __init__(self, *answers: bytes) -> None:
        self._answers = list(answers)

    def exchange(self, message: bytes) -> bytes:
        return self._answers.pop(0)


def connect(transport: Any, **changed: Any) -> zts.Session:
    given: dict[str, Any] = {"identity": zts.Ed25519Identity.generate("a"), "root": public_key(ROOT)}
    return zts.connect(transport, scopes=["orders.*"], **{**given, **changed})


def granted(**changed: Any) -> Outcome:
    return Outcome(**{"status": "granted", "session": b"1" * 16, "assurance": 1, **changed})


@pytest.fixture
def both() -> Any:
    client, point = pair()
    with point:
        yield client, point


# ---- Handshake


def test_an_outcome_becomes_a_session():
    """What the Authority granted is what the session says, and evidence was sent only to a certified peer."""
    authority = Authority(granted())
    session = connect(authority)
    assert (session.id, session.assurance, session.segments) == (b"1" * 16, 1, ())
    assert authority.proof is not None
    assert (bool(authority.proof.identity), authority.proof.posture) == (True, b"")


def test_a_demanded_cookie_is_sent_along_with_a_fresh_hello():
    """A client says Hello again with the cookie, once, and goes on from there."""
    authority = Authority(granted(), demand=True)
    assert connect(authority).id == b"1" * 16
    assert [hello.cookie for hello in authority.hellos] == [b"", COOKIE]
    with pytest.raises(HandshakeError):
        connect(Says(CookieDemand(COOKIE).to_bytes(), CookieDemand(COOKIE).to_bytes()))


def test_a_step_up_is_told_from_a_refusal():
    """The one names what is missing, the other a coarse word."""
    with pytest.raises(StepUpRequired, match="more evidence: posture"):
        connect(Authority(Outcome("step-up", missing=["posture"])))
    with pytest.raises(HandshakeError, match="the Authority refused: refused"):
        connect(Authority(Outcome("refused", reason="refused")))
    with pytest.raises(HandshakeError, match="refused the handshake: busy"):
        connect(Says(Refusal("busy").to_bytes()))


def test_H12_an_expired_certificate_gets_no_evidence():
    """A peer that is certified no longer, or by another root, never sees who is connecting."""
    for authority, root in (
        (Authority(granted(), not_after=1), ROOT),
        (Authority(granted()), b"x" * 32),
    ):
        with pytest.raises(EvidenceError):
            connect(authority, root=public_key(root))
        assert authority.proof is None
    assert connect(Authority(granted()))


@pytest.mark.parametrize("noise", [b"", b"\x80", bytes(200), bytes(3000)])
def test_noise_instead_of_a_handshake_is_a_handshake_error(noise: bytes):
    """Whatever comes back at whichever step, the client raises one of its own errors."""
    with pytest.raises(HandshakeError):
        connect(Says(noise))

    class ThenNoise(Authority):
        def exchange(self, message: bytes) -> bytes:
            return noise if self._state is not None else super().exchange(message)

    with pytest.raises(HandshakeError):
        connect(ThenNoise())


def test_grants_and_tickets_that_do_not_belong_together_are_refused(both: Any):
    """One ticket for each grant, and every grant for this very session."""
    client, _ = both
    grant = client.grant.to_bytes()
    for wrong in (granted(grants=[grant]), granted(grants=[grant], tickets=[b"t"])):
        with pytest.raises(WireError, match="one ticket for each grant"):
            connect(Authority(wrong))
    fitting = granted(session=client.grant.session, grants=[grant], tickets=[b"t"])
    assert connect(Authority(fitting)).segments == ("orders",)


def test_a_session_names_the_segments_that_it_has(house: Any):
    """To install where nothing was granted is an error that says where something was."""
    authority = house.authority()
    session = house.connect(authority, scopes=["orders.submit"])
    with pytest.raises(SessionEnded, match="nothing was granted in segment 'md', only in orders"):
        session.install(house.point(authority, "md"), "md")
    assert session.install(house.point(authority), "orders")


def test_no_secret_shows_in_what_a_client_prints(house: Any):
    """Sessions, identities and devices can be logged."""
    authority = house.authority()
    session = house.connect(authority)
    shown = repr(session) + repr(house.identity) + repr(house.device)
    hidden = (
        session._held.through.secret,
        house.identity.signing_seed,
        house.identity.static_private,
        house.device.signing_seed,
    )
    for secret in (*hidden, *session.tickets.values()):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_reauthentication_may_take_another_connection(house: Any):
    """When the first connection is gone another one will do, and the session is the same client's."""
    authority = house.authority()

    class Breaks:
        def __init__(self) -> None:
            self.inner, self.broken = authority.connection(), False

        def exchange(self, message: bytes) -> bytes:
            if self.broken:
                raise TransportError("gone")
            return self.inner.exchange(message)

    line = Breaks()
    session = house.connect(authority, line)
    line.broken = True
    with pytest.raises(TransportError):
        session.reauthenticate()
    assert authority.session(session.id)
    renewed = session.reauthenticate(authority.connection())
    assert [record.id for record in authority.sessions()] == [renewed.id]


# ---- Installed


def test_an_installed_session_signs_and_opens(both: Any):
    """Bound or by name, tokens are good for their operation and body; replies open once."""
    client, point = both
    view = point.verifier("orders.submit")(client.signer("orders.submit")(b"x"), b"x")
    assert point.verifier("orders.cancel")(client.sign("orders.cancel", b"y"), b"y")
    reply = point.sign_reply(view, b"filled")
    for token, body, error in ((reply, b"filler", BadTag), (bytes(48), b"filled", zts.errors.Malformed)):
        with pytest.raises(error):
            client.open_reply(token, body)
    assert client.open_reply(reply, b"filled").operation == "orders.submit"
    with pytest.raises(Replayed):
        client.open_reply(reply, b"filled")


def test_T7_a_request_does_not_open_as_a_reply(both: Any):
    """The two directions have keys of their own and say which they are."""
    client, point = both
    token = client.sign("orders.submit", b"x")
    with pytest.raises(zts.errors.Malformed):
        client.open_reply(token, b"x")
    with pytest.raises(BadTag):
        client.open_reply(token[:1] + b"\1" + token[2:], b"x")
    assert point.verifier("orders.submit")(token, b"x")


def test_an_unknown_operation_is_a_sentence(both: Any):
    """A misspelt operation is found when it is bound."""
    client, _ = both
    for bind in (
        lambda: client.signer("orders.sumbit"),
        lambda: client.sign("orders.sumbit", b""),
        lambda: client.sign_batch("orders.sumbit", b"", count=1),
    ):
        with pytest.raises(
            ConfigurationError, match=r"knows no 'orders\.sumbit', only orders\.submit, orders\.cancel"
        ):
            bind()


def test_a_closed_installation_signs_no_more(both: Any):
    """After close() the keys are gone; the session can be installed again."""
    client, point = both
    sign = client.signer("orders.submit")
    view = point.verifier("orders.submit")(sign(b"x"), b"x")
    reply = point.sign_reply(view, b"r")
    client.close()
    client.close()
    for ended in (lambda: sign(b"x"), lambda: client.sign_batch("orders.submit", b"x", count=1)):
        with pytest.raises(SessionEnded):
            ended()
    with pytest.raises(UnknownSession):
        client.open_reply(reply, b"r")


def test_the_last_sequence_is_the_end(both: Any):
    """When all sequences are used the client is told to renew, and no number is used twice."""
    client, point = both
    client.table.set_sent_for_testing_only(client.handle, SEQUENCE_MAX - 1)
    assert point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x").sequence == SEQUENCE_MAX
    with pytest.raises(SequenceExhausted):
        client.sign("orders.submit", b"x")


def test_threads_that_sign_use_no_sequence_twice(both: Any):
    """Eight threads at one session: every token is accepted, each with a number of its own."""
    client, point = both
    tokens: list[bytes] = []

    def sign() -> None:
        for _ in range(100):
            tokens.append(client.sign("orders.submit", b"x"))

    threads = [threading.Thread(target=sign) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {int.from_bytes(token[16:24], "little") for token in tokens} == set(range(1, 801))
    ordered = sorted(tokens, key=lambda token: token[16:24][::-1])
    assert not any(point.verify_batch("orders.submit", b"".join(ordered), b"x" * 800))
