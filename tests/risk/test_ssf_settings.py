"""ssf.toml is read strictly: whose events are believed is never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("joserfc", reason="keys of issuers need ztsession[authority]")

from ssf_makers import AUDIENCE, FIRM, Issuer

from ztsession.errors import ConfigurationError
from ztsession.risk.levels import Level
from ztsession.risk.ssf.events import EVENTS
from ztsession.risk.ssf.settings import SsfSettings

ISSUER = Issuer()
LEAST = f'[transmitters.idp]\nissuer = "{FIRM}"\naudience = "{AUDIENCE}"\njwks = "idp.json"\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "idp.json").write_bytes(ISSUER.jwks)
    return tmp_path


def read(directory: Path, text: str) -> SsfSettings:
    (directory / "ssf.toml").write_text(text)
    return SsfSettings.from_directory(directory)


def test_without_a_file_nobody_is_believed(tmp_path: Path):
    """And that is no mistake."""
    assert SsfSettings.from_directory(tmp_path).transmitters == {}


def test_what_is_left_out_has_a_default(directory: Path):
    """ES256, every event, any level, no token, and OpenID credentials as names."""
    found = read(directory, LEAST).transmitters["idp"]
    assert (found.source, found.sets.issuer, found.sets.audience) == ("ssf:idp", FIRM, AUDIENCE)
    assert (found.sets.algorithms, found.highest, found.token_digest) == (("ES256",), Level.CRITICAL, b"")
    assert found.events == set(EVENTS)
    assert (found.naming.subject, found.naming.session) == ({"iss_sub": "oidc"}, {"opaque": "id"})
    assert (found.naming.device, found.naming.listed) == ({}, {})


def test_everything_can_be_said(directory: Path):
    """Each key of the module's own example."""
    found = read(
        directory,
        LEAST
        + f'algorithms = ["ES256", "RS256"]\nevents = ["session-revoked"]\nhighest = "HIGH"\nper_s = 5\n'
        f'token_sha256 = "{"ab" * 32}"\ntenant = "1"\ncritical = ["tenant"]\n'
        '[transmitters.idp.subject]\nemail = "name"\nuri = "spiffe"\n'
        '[transmitters.idp.device]\nopaque = "listed"\n'
        '[transmitters.idp.session]\n[transmitters.idp.listed]\n"e9 29" = "host-1"\n',
    ).transmitters["idp"]
    assert (found.events, found.highest, found.per_s) == ({"session-revoked"}, Level.HIGH, 5)
    assert found.token_digest == bytes.fromhex("ab" * 32)
    assert (found.naming.tenant, found.naming.critical) == ("1", ("tenant",))
    assert found.naming.subject == {"email": "name", "uri": "spiffe"}
    assert (found.naming.session, found.naming.listed) == ({}, {"e9 29": "host-1"})
    assert "ab" * 32 not in repr(found)


#: By number what is wrong, and what the error says.
WRONG: dict[str, tuple[str, str]] = {
    "01 a key that there is not": (LEAST + 'colour = "red"\n', "unknown key"),
    "02 a table that there is not": (LEAST + "[receivers]\n", "unknown key"),
    "03 no issuer": (LEAST.replace("issuer", "# issuer"), "issuer: expected text"),
    "04 a plain issuer": (LEAST.replace("https://idp", "http://idp"), "issuer: expected the issuer"),
    "05 an issuer with a query": (LEAST.replace(FIRM, FIRM + "?x"), "issuer: expected the issuer"),
    "06 an empty audience": (LEAST.replace(AUDIENCE, ""), "audience: expected the audience"),
    "07 no keys": (LEAST.replace("jwks", "# jwks"), "expected either jwks"),
    "08 keys from two places": (LEAST + 'jwks_url = "https://x.example"\n', "expected either jwks"),
    "09 keys from elsewhere": (LEAST.replace("idp.json", "../idp.json"), "a file in this directory"),
    "10 keys over HTTP": (
        LEAST.replace('jwks = "idp.json"', 'jwks_url = "http://x.example"'),
        "jwks_url: expected https",
    ),
    "11 a symmetric algorithm": (LEAST + 'algorithms = ["HS256"]\n', "algorithms: expected some of"),
    "12 no algorithm": (LEAST + "algorithms = []\n", "algorithms: expected some of"),
    "13 an unknown event": (LEAST + 'events = ["explosion"]\n', "events: expected some of"),
    "14 no event": (LEAST + "events = []\n", "events: expected some of"),
    "15 an unknown level": (LEAST + 'highest = "WORST"\n', "highest: expected one of"),
    "16 a token for its digest": (LEAST + 'token_sha256 = "secret"\n', "token_sha256: expected 64 digits"),
    "17 no rate": (LEAST + "per_s = 0\n", "per_s: expected an integer"),
    "18 an unknown member": (LEAST + 'critical = ["colour"]\n', "critical: expected some of"),
    "19 an unknown format": (LEAST + '[transmitters.idp.subject]\nname = "name"\n', "unknown key"),
    "20 an unknown way": (LEAST + '[transmitters.idp.subject]\nemail = "id"\n', "email: expected one of"),
    "21 oidc of an email": (LEAST + '[transmitters.idp.subject]\nemail = "oidc"\n', "only iss_sub can be"),
    "22 spiffe of an opaque": (LEAST + '[transmitters.idp.subject]\nopaque = "spiffe"\n', "only uri can be"),
    "23 a device by a credential": (
        LEAST + '[transmitters.idp.device]\niss_sub = "oidc"\n',
        "iss_sub: expec",
    ),
    "24 a session by a name": (LEAST + '[transmitters.idp.session]\nopaque = "name"\n', "opaque: expected"),
    "25 a name that is none": (
        LEAST + '[transmitters.idp.listed]\n"x" = "b\u00f6se"\n',
        "x: expected 1 to 128",
    ),
    "26 a transmitter with a slash": (LEAST.replace("s.idp]", 's."a/b"]'), "expected a name of at most 64"),
    "27 an endless transmitter": (LEAST.replace("s.idp]", f"s.{'a' * 65}]"), "expected a name of at most 64"),
    "28 the same twice": (LEAST + LEAST.replace("s.idp]", "s.two]"), "two has the token, or issuer"),
    "29 a token for two": (
        "".join(
            LEAST.replace("s.idp]", f"s.{name}]").replace(AUDIENCE, name) + f'token_sha256 = "{"ab" * 32}"\n'
            for name in ("one", "two")
        ),
        "two has the token, or issuer",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_named_with_its_place(directory: Path, case: str):
    """The file, and what was expected."""
    text, told = WRONG[case]
    with pytest.raises(ConfigurationError) as error:
        read(directory, text)
    assert told in str(error.value)
    assert "ssf.toml" in str(error.value)
    assert "secret" not in str(error.value)
