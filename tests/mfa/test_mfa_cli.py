"""``ztsession mfa``, run as operators run it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyotp
import pytest

import ztsession as zts
from ztsession.authority.keys import AuthorityKeys
from ztsession.errors import EvidenceError
from ztsession.mfa.factors import Factors
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.recovery import RecoveryEvidence, as_typed
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp import TotpEvidence
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

HOME = Path(zts.__file__).parent.parent
BINDING = bytes(range(32))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A state directory as an Authority leaves it, and a policy directory."""
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "mfa.toml").write_text('issuer = "Example Desk"\n')
    ada = '[subjects.ada]\nkind = "human"\ndns_name = "ada.firm.example"\n'
    (tmp_path / "policy" / "subjects.toml").write_text(ada)
    AuthorityKeys.open(tmp_path / "state")
    SqliteStore(tmp_path / "state" / "authority.sqlite").close()
    return tmp_path


def command(place: Path, name: str, *more: str) -> list[str]:
    where = ["--state", str(place / "state"), "--policy", str(place / "policy"), "--subject", "ada"]
    return [sys.executable, "-m", "ztsession", "mfa", name, *where, *more]


def run(place: Path, name: str, *more: str, status: int = 0) -> str:
    ran = subprocess.run(
        command(place, name, *more), cwd=HOME, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == status, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stdout + ran.stderr


def enrol(place: Path, *, right: bool, blank: str = "") -> tuple[pyotp.TOTP, str, int]:
    """Enrol an app by its first code, or fail to; its text and exit status too."""
    with subprocess.Popen(
        command(place, "enrol-totp"), cwd=HOME, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        app = pyotp.parse_uri(child.stdout.readline().strip())
        assert isinstance(app, pyotp.TOTP)
        assert app.secret in child.stdout.readline()
        code = app.at(time.time() + (0 if right else 3000))
        text, _ = child.communicate(f"{code[:3]}{blank}{code[3:]}\n", timeout=60)
    return app, text, child.returncode


def opened(place: Path, store: SqliteStore) -> Factors:
    key = AuthorityKeys.open(place / "state").sealing("mfa")
    return Factors(SqliteEnrolments(store), key, MfaSettings.from_directory(place / "policy"))


def test_an_app_is_enrolled_by_its_first_code(place):
    """The URI, the secret and the question come; with the first code the Authority takes the next ones."""
    app, text, status = enrol(place, right=True, blank=" ")  # as apps show it
    assert (status, text.strip().endswith("enrolled")) == (0, True)
    assert (app.issuer, app.name) == ("Example Desk", "ada")
    assert "totp: assurance 2, sha1-6, open" in run(place, "list")
    with SqliteStore(place / "state" / "authority.sqlite") as store:
        shown = TotpEvidence(app.at(time.time() + 30)).to_bytes()
        assert opened(place, store).verify("ada", shown, BINDING) == FactorShown("totp", 2)
    assert run(place, "remove", "--factor", "totp") == "removed\n"
    assert "has no such factor" in run(place, "remove", "--factor", "totp", status=1)
    assert "expected totp" in run(place, "remove", "--factor", "sms", status=1)


def test_a_wrong_first_code_enrols_nothing(place):
    """It is told in one sentence, and the subject has no factor."""
    _, text, status = enrol(place, right=False)
    assert (status, "does not hold" in text, "Traceback" in text) == (1, True, False)
    assert "no new secret counts" in text
    assert run(place, "list") == "ada has no second factor\n"


def test_codes_are_printed_and_a_lock_is_reset(place):
    """Ten codes come and hold; who guessed wrongly too often is let in again by reset."""
    codes = run(place, "recovery-codes").split()
    assert len(codes) == 10
    with SqliteStore(place / "state" / "authority.sqlite") as store:
        factors = opened(place, store)
        for _ in range(5):
            with pytest.raises(EvidenceError, match="does not hold"):
                factors.verify("ada", RecoveryEvidence("a" * 24).to_bytes(), BINDING)
        assert "5 wrong codes in a row" in run(place, "list")
        assert run(place, "reset") == "reset\n"
        assert "0 wrong codes in a row" in run(place, "list")
        shown = RecoveryEvidence(as_typed(codes[0])).to_bytes()
        assert factors.verify("ada", shown, BINDING) == FactorShown("recovery", 2)


def test_a_directory_that_is_no_state_stays_empty(place, tmp_path):
    """A mistyped directory is refused, and no keys are made in it."""
    (place / "state").rename(place / "elsewhere")
    (place / "state").mkdir()
    assert "served before" in run(place, "recovery-codes", status=1)
    assert list((place / "state").iterdir()) == []
