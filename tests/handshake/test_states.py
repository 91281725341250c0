"""The states allow one step each, and both ends arrive at one channel."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from collections.abc import Callable

import pytest

from ztsession.errors import HandshakeError
from ztsession.handshake import AwaitingOffer, AwaitingProof, Channel, start_initiator, start_responder
from ztsession.handshake.channel import MAX_PLAINTEXT_BYTES
from ztsession.handshake.keys import DhKeyPair

CLIENT, SERVER = bytes(range(1, 33)), bytes(range(101, 133))


def halfway() -> tuple[AwaitingOffer, AwaitingProof, bytes, bytes]:
    message1, client = start_initiator(CLIENT, b"hello")
    message2, server = start_responder(SERVER, message1).write(b"offer")
    return client, server, message1, message2


def channels() -> tuple[Channel, Channel]:
    client, server, _, message2 = halfway()
    message3, ours = client.read(message2).write(b"proof")
    _, theirs = server.read(message3)
    return ours, theirs


def test_the_whole_way():
    """Payloads arrive, both know each other's key and the same hash after message 2, and share one secret."""
    message1, awaiting_offer = start_initiator(CLIENT, b"hello", channel_binding=b"tls")
    received = start_responder(SERVER, message1, channel_binding=b"tls")
    assert received.payload == b"hello"
    message2, awaiting_proof = received.write(b"offer")
    offered = awaiting_offer.read(message2)
    assert offered.payload == b"offer"
    assert offered.remote_static == DhKeyPair(SERVER).public
    assert offered.handshake_hash == awaiting_proof.handshake_hash
    message3, ours = offered.write(b"proof")
    payload, theirs = awaiting_proof.read(message3)
    assert payload == b"proof"
    assert theirs.remote_static == DhKeyPair(CLIENT).public
    assert ours.remote_static == DhKeyPair(SERVER).public
    assert ours.handshake_hash == theirs.handshake_hash != offered.handshake_hash
    assert ours.session_secret == theirs.session_secret
    assert len(ours.session_secret) == 32


def test_a_used_state_refuses_every_step():
    """Each state advances once, and its second use is an error even with the right message."""
    message1, client = start_initiator(CLIENT, b"")
    received = start_responder(SERVER, message1)
    message2, server = received.write(b"")
    offered = client.read(message2)
    message3, _ = offered.write(b"")
    server.read(message3)
    again: list[Callable[[], object]] = [
        lambda: received.write(b""),
        lambda: client.read(message2),
        lambda: offered.write(b""),
        lambda: server.read(message3),
    ]
    for step in again:
        with pytest.raises(HandshakeError, match="used already"):
            step()


def test_a_failed_step_uses_the_state_up():
    """After a bad message the true one is refused too: an attacker gets one try."""
    client, server, _, message2 = halfway()
    offered = client.read(message2)
    with pytest.raises(HandshakeError, match="cut short"):
        server.read(b"nonsense")
    message3, _ = offered.write(b"")
    with pytest.raises(HandshakeError, match="used already"):
        server.read(message3)


def test_of_many_threads_one_gets_the_step():
    """When eight threads use one state at once, exactly one message 3 exists."""
    client, _, _, message2 = halfway()
    offered = client.read(message2)
    written, barrier = [], threading.Barrier(8)

    def write() -> None:
        barrier.wait()
        try:
            written.append(offered.write(b""))
        except HandshakeError:
            return

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1


def test_states_and_channels_cannot_be_copied():
    """A copy would use ephemeral keys and nonces twice, so there is no way to make one."""
    client, server, _, _ = halfway()
    for state in (client, server, *channels()):
        for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(HandshakeError, match="copied"):
                duplicate(state)


def test_channel_messages_open_once_in_order():
    """Messages open in the order sealed; repeated, skipped or reflected ones do not, and cost nothing."""
    ours, theirs = channels()
    first, second = ours.seal(b"1"), ours.seal(b"2")
    with pytest.raises(HandshakeError):
        theirs.open(second)
    with pytest.raises(HandshakeError):
        ours.open(first)
    assert theirs.open(first) == b"1"
    with pytest.raises(HandshakeError):
        theirs.open(first)
    assert theirs.open(second) == b"2"
    assert ours.open(theirs.seal(b"3")) == b"3"


def test_channel_messages_have_a_size_limit():
    """The largest plaintext passes, and one more byte is refused on either side without moving a counter."""
    ours, theirs = channels()
    with pytest.raises(HandshakeError, match="over"):
        ours.seal(bytes(MAX_PLAINTEXT_BYTES + 1))
    largest = ours.seal(bytes(MAX_PLAINTEXT_BYTES))
    with pytest.raises(HandshakeError, match="over"):
        theirs.open(largest + b"x")
    assert theirs.open(largest) == bytes(MAX_PLAINTEXT_BYTES)


def test_secrets_are_not_printed():
    """Neither the repr nor the attributes that a debugger prints first show the session secret."""
    ours, _ = channels()
    assert ours.session_secret.hex() not in repr(ours)
    assert repr(ours.session_secret) not in repr(ours)


def test_H18_a_forked_process_cannot_go_on():
    """States and channels refuse to work in a forked child, and still work in the parent."""
    client, server, _, message2 = halfway()
    offered = client.read(message2)
    ours, theirs = channels()
    child = os.fork()
    if child == 0:
        steps: list[Callable[[], object]] = [
            lambda: offered.write(b""),
            lambda: server.read(b""),
            lambda: ours.seal(b"x"),
            lambda: theirs.open(b"x"),
        ]
        refused = 0
        for step in steps:
            try:
                step()
            except HandshakeError as error:
                refused += "another process" in str(error)
        os._exit(refused)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    message3, _ = offered.write(b"proof")
    assert server.read(message3)[0] == b"proof"
    assert theirs.open(ours.seal(b"x")) == b"x"


def test_H18_a_fresh_handshake_in_a_child_has_its_own_keys():
    """After a fork, parent and child draw different ephemeral keys."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write_end, start_initiator(CLIENT, b"")[0][:32])
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read_end, 32)
    os.close(read_end)
    os.close(write_end)
    assert len(theirs) == 32
    assert theirs != start_initiator(CLIENT, b"")[0][:32]
