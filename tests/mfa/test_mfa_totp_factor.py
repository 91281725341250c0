"""Enrolled one-time codes, over a real database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import pyotp
import pytest

from ztsession.errors import EvidenceError, StoreError
from ztsession.mfa.factors import Factors
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp import TotpEvidence

BINDING = bytes(range(32))
SHOWN = FactorShown("totp", 2)


def refused(factors: Factors, evidence: bytes, subject: str = "ada") -> str:
    with pytest.raises(EvidenceError) as caught:
        factors.verify(subject, evidence, BINDING)
    return str(caught.value)


def outcomes(tries: Sequence[Callable[[], object]]) -> list[object]:
    """What comes of calls that begin at one moment, each in a thread."""
    barrier, came = threading.Barrier(len(tries)), []

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        try:
            came.append(call())
        except EvidenceError as error:
            came.append(str(error))

    threads = [threading.Thread(target=run, args=(call,)) for call in tries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


def test_a_code_lifts_to_assurance_2(factors, code):
    """The code of an enrolled and confirmed app holds."""
    assert factors.enrolled("ada") == ("totp",)
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_an_offered_secret_counts_once_confirmed(factors, clock):
    """Until its first code is shown it is no factor, and the first code is used up by that."""
    app = pyotp.parse_uri(factors.enrol_totp("ada").uri)
    first = app.at(clock.time())
    assert factors.enrolled("ada") == ()
    refused(factors, TotpEvidence(first).to_bytes())
    with pytest.raises(EvidenceError, match="6 or 8 digits"):
        factors.confirm_totp("ada", "12345")
    with pytest.raises(EvidenceError, match="does not hold"):
        factors.confirm_totp("ada", app.at(clock.time() + 3000))
    factors.confirm_totp("ada", first)
    assert "used up" in refused(factors, TotpEvidence(first).to_bytes())
    assert factors.enrolled("ada") == ("totp",)
    with pytest.raises(EvidenceError, match="no secret was offered"):
        factors.confirm_totp("ada", app.at(clock.time() + 30))


def test_an_offer_ends_after_ten_minutes(factors, clock):
    """Ten minutes later a first code still confirms; after that it does not."""
    apps = {name: pyotp.parse_uri(factors.enrol_totp(name).uri) for name in ("ada", "bob")}
    clock.advance(600)
    factors.confirm_totp("ada", apps["ada"].at(clock.time()))
    clock.advance(1)
    with pytest.raises(EvidenceError, match="no secret was offered"):
        factors.confirm_totp("bob", apps["bob"].at(clock.time()))


def test_a_new_secret_replaces_the_old_one_when_confirmed(factors, code, app, clock):
    """The old app works while the new one is offered, and no longer once that is confirmed."""
    new = pyotp.parse_uri(factors.enrol_totp("ada").uri)
    assert factors.verify("ada", code(), BINDING) == SHOWN
    factors.confirm_totp("ada", new.at(clock.time()))
    clock.advance(60)
    refused(factors, code())
    assert factors.verify("ada", TotpEvidence(new.at(clock.time())).to_bytes(), BINDING) == SHOWN


def test_the_profile_of_eight_digits(enrolments, clock):
    """A policy that wants SHA-256 and eight digits gets both, and secrets of 256 bits."""
    factors = Factors(enrolments, bytes(32), MfaSettings(totp="sha256-8"), clock=clock.time)
    offer = factors.enrol_totp("ada")
    app = pyotp.parse_uri(offer.uri)
    assert (app.digits, app.digest().name, len(app.byte_secret())) == (8, "sha256", 32)
    assert pyotp.TOTP(offer.secret).byte_secret() == app.byte_secret()
    assert offer.secret not in repr(offer)
    factors.confirm_totp("ada", app.at(clock.time()))
    clock.advance(30)
    assert factors.verify("ada", TotpEvidence(app.at(clock.time())).to_bytes(), BINDING) == SHOWN


def test_H25_a_code_holds_once(factors, code, clock):
    """The same code again is refused, also for another handshake; the next one holds."""
    first = code()
    assert factors.verify("ada", first, BINDING) == SHOWN
    assert "used up" in refused(factors, first)
    with pytest.raises(EvidenceError, match="used up"):
        factors.verify("ada", first, bytes(32))
    clock.advance(30)
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_H25_an_older_code_after_a_newer_is_refused(factors, code):
    """Once the next step's code was taken, the present one is used up although nobody showed it."""
    assert factors.verify("ada", code(1), BINDING) == SHOWN
    assert "used up" in refused(factors, code(0))
    assert "used up" in refused(factors, code(-1))


def test_H25_the_clock_set_back_opens_no_used_code(factors, code, clock):
    """After the clock went back, codes that were taken before are refused."""
    before = code()
    assert factors.verify("ada", before, BINDING) == SHOWN
    clock.advance(-3600)
    refused(factors, before)
    assert "used up" in refused(factors, code())


def test_H25_of_two_connections_with_one_code_exactly_one_wins(factors, another, code, clock):
    """Threads on two connections to one file, as two processes have them, share one use."""
    for _ in range(5):
        shown = code()
        tries = [partial(side.verify, "ada", shown, BINDING) for side in (factors, another) * 4]
        assert outcomes(tries).count(SHOWN) == 1
        factors.reset("ada")
        clock.advance(30)


def test_H25_of_two_threads_with_one_code_exactly_one_wins(factors, code, clock):
    """Threads on one connection share one use."""
    for _ in range(5):
        shown = code()
        tries = [partial(factors.verify, "ada", shown, BINDING)] * 6
        assert outcomes(tries).count(SHOWN) == 1
        factors.reset("ada")
        clock.advance(30)


def test_H2_a_code_is_its_own_subjects(factors, app, code, clock):
    """Ada's code is worth nothing for bob, who has a factor too, and stays good for ada."""
    bob = pyotp.parse_uri(factors.enrol_totp("bob").uri)
    factors.confirm_totp("bob", bob.at(clock.time()))
    assert "does not hold" in refused(factors, code(), subject="bob")
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_H2_a_row_copied_to_another_subject_is_an_error(factors, enrolments, code):
    """Who can write the database cannot give bob the factor of ada."""
    _, row = enrolments.get("mfa.totp.record", "ada")
    assert enrolments.put("mfa.totp.record", "bob", row, expected=0)
    with pytest.raises(StoreError, match="moved"):
        factors.verify("bob", code(), BINDING)
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_brute_force_a_waiting_factor_does_not_look_at_the_code(factors, another, code, wrong, clock):
    """After five wrong codes even the right one is refused until its time, on every connection."""
    for _ in range(5):
        assert "does not hold" in refused(factors, wrong())
    for side in (factors, another):
        assert "has to wait" in refused(side, code())
    clock.advance(2)
    assert "does not hold" in refused(factors, wrong())
    clock.advance(1)
    assert "has to wait" in refused(factors, code())
    clock.advance(2)
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_brute_force_a_success_starts_the_count_anew(factors, code, wrong, clock):
    """Four wrong codes, a right one, and four wrong ones make nobody wait."""
    for _ in range(2):
        for _ in range(4):
            refused(factors, wrong())
        assert factors.verify("ada", code(), BINDING) == SHOWN
        clock.advance(30)


def test_brute_force_a_hundred_wrong_codes_lock_until_reset(factors, another, code, wrong, clock):
    """Patience helps no further; an operator's reset does, and others are not concerned."""
    for _ in range(100):
        assert "does not hold" in refused(factors, wrong())
        clock.advance(1000)
    for side in (factors, another):
        assert "locked" in refused(side, code())
    assert "locked" in factors.held("ada")[0].state
    factors.reset("ada")
    assert factors.verify("ada", code(), BINDING) == SHOWN


def test_brute_force_in_parallel_gains_nothing(factors, another, wrong):
    """Of many guesses at one moment no more than five are looked at."""
    shown = wrong()
    tries = [partial(side.verify, "ada", shown, BINDING) for side in (factors, another) * 8]
    told = outcomes(tries)
    assert sum("does not hold" in text for text in told) == 5
    assert sum("has to wait" in text for text in told) == 11


def test_a_removed_factor_is_gone(factors, code):
    """After removal no code holds, and removing it again says that there was none."""
    assert factors.remove("ada", "totp")
    assert factors.enrolled("ada") == ()
    refused(factors, code())
    assert not factors.remove("ada", "totp")


def test_a_slow_writer_cannot_bring_a_removed_factor_back(factors, enrolments, code):
    """A change that judged the record before it was removed does not fit the record made afterwards."""
    revision, row = enrolments.get("mfa.totp.record", "ada")
    factors.remove("ada", "totp")
    factors.enrol_totp("ada")
    assert not enrolments.put("mfa.totp.record", "ada", row, expected=revision)
    refused(factors, code())
