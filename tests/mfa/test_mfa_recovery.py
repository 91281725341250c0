"""Recovery codes: shown once, good once each."""

from __future__ import annotations

import re
import threading

import pytest

from ztsession.errors import EvidenceError, WireError
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.recovery import RecoveryEvidence, as_typed

BINDING = bytes(range(32))
SHOWN = FactorShown("recovery", 2)


def evidence(code: str) -> bytes:
    return RecoveryEvidence(as_typed(code)).to_bytes()


def refused(factors, code: str, subject: str = "ada") -> str:
    with pytest.raises(EvidenceError) as caught:
        factors.verify(subject, evidence(code), BINDING)
    return str(caught.value)


def test_ten_codes_of_120_bits(factors):
    """A list has ten codes without repetition, in groups for reading, and another list shares none."""
    codes = factors.recovery_codes("ada")
    assert len({*codes, *factors.recovery_codes("ada")}) == 20
    assert all(re.fullmatch("(?:[a-z2-7]{4}-){5}[a-z2-7]{4}", code) for code in codes)


def test_H25_each_code_holds_once(factors):
    """Every code of the list is taken in any order, and none twice; with the last, the factor is gone."""
    codes = factors.recovery_codes("ada")
    for number, code in enumerate(reversed(codes), 1):
        assert factors.enrolled("ada") == ("recovery",)
        assert factors.verify("ada", evidence(code), BINDING) == SHOWN
        assert "does not hold" in refused(factors, code)
        left = [held.state for held in factors.held("ada")]
        assert left == ([] if number == 10 else [f"{10 - number} left, open, 1 wrong codes in a row"])
    assert factors.enrolled("ada") == ()


def test_H25_of_two_connections_with_one_code_exactly_one_wins(factors, another):
    """Threads on two connections to one file share one use of a code."""
    for code in factors.recovery_codes("ada")[:5]:
        barrier, won = threading.Barrier(6), []

        def run(side, code=code, barrier=barrier, won=won):
            barrier.wait()
            try:
                won.append(side.verify("ada", evidence(code), BINDING))
            except EvidenceError:
                won.append(None)

        threads = [threading.Thread(target=run, args=(side,)) for side in (factors, another) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(SHOWN) == 1
        assert len(won) == 6
        factors.reset("ada")


def test_H2_a_code_is_its_own_subjects(factors):
    """Ada's code does nothing for bob, and stays good for ada."""
    code = factors.recovery_codes("ada")[0]
    factors.recovery_codes("bob")
    assert "does not hold" in refused(factors, code, subject="bob")
    assert factors.verify("ada", evidence(code), BINDING) == SHOWN


def test_a_new_list_ends_the_old_one(factors):
    """Codes of an older list hold no more, those of the new one do; after removal none does."""
    old, new = factors.recovery_codes("ada"), factors.recovery_codes("ada")
    refused(factors, old[0])
    assert factors.verify("ada", evidence(new[0]), BINDING) == SHOWN
    assert factors.remove("ada", "recovery")
    refused(factors, new[1])
    assert not factors.remove("ada", "recovery")


def test_brute_force_has_to_wait(factors, clock):
    """After five wrong codes the right one is refused until its time."""
    code = factors.recovery_codes("ada")[0]
    for _ in range(5):
        refused(factors, "a" * 24)
    assert "has to wait" in refused(factors, code)
    clock.advance(2)
    assert factors.verify("ada", evidence(code), BINDING) == SHOWN


@pytest.mark.parametrize(
    "code", ["", "a" * 23, "a" * 25, "A" * 24, "a" * 23 + "1", "a" * 23 + "\n", "\uff41" * 24]
)
def test_a_code_has_one_form(code):
    """24 characters of lower-case base32 are evidence; how people type them is settled before."""
    assert as_typed(" ABCD-efgh 2345\n") == "abcdefgh2345"
    assert RecoveryEvidence("a" * 24).to_bytes()
    with pytest.raises(WireError, match="24 characters"):
        RecoveryEvidence(code)
