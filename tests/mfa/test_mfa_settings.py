"""The operator's mfa.toml: read strictly, absent without harm."""

from __future__ import annotations

import pytest

from ztsession.errors import ConfigurationError
from ztsession.mfa.settings import MfaSettings


def test_without_the_file_codes_work_and_webauthn_does_not(tmp_path):
    """The defaults name no relying party and no origin."""
    assert MfaSettings.from_directory(tmp_path) == MfaSettings("", (), "ztsession", "sha1-6")


def test_everything_can_be_set(tmp_path):
    """Each key has its place; a port and a subdomain belong to an origin."""
    (tmp_path / "mfa.toml").write_text(
        'rp_id = "trading.example"\n'
        'origins = ["https://trading.example", "https://desk.trading.example:8443"]\n'
        'issuer = "Example Desk"\n'
        'totp = "sha256-8"\n'
    )
    assert MfaSettings.from_directory(tmp_path) == MfaSettings(
        "trading.example",
        ("https://trading.example", "https://desk.trading.example:8443"),
        "Example Desk",
        "sha256-8",
    )


def test_this_machine_needs_no_tls(tmp_path):
    """http is an origin on localhost alone."""
    (tmp_path / "mfa.toml").write_text('rp_id = "localhost"\norigins = ["http://localhost:8080"]\n')
    assert MfaSettings.from_directory(tmp_path).origins == ("http://localhost:8080",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('rp = "a.example"', "1: rp: unknown key"),
        ('rp_id = "a.example"', "1: rp_id: expected rp_id and origins together"),
        ('issuer = "x"\norigins = ["https://a.example"]', "2: origins: expected rp_id and origins"),
        ('rp_id = "A.example"\norigins = ["https://A.example"]', "1: rp_id: expected a domain"),
        ('rp_id = "a..example"\norigins = ["https://a.example"]', "1: rp_id: expected a domain"),
        ('rp_id = "a.example\\n"\norigins = ["https://a.example"]', "1: rp_id: expected a domain"),
        ('rp_id = "a.example"\norigins = "https://a.example"', "2: origins: expected a list"),
        *(
            (f'rp_id = "a.example"\norigins = ["https://a.example", "{bad}"]', "2: origins: expected origins")
            for bad in (
                "http://a.example",
                "https://a.example/",
                "https://b.example",
                "https://xa.example",
                "https://a.example:0",
                "https://a.example.evil.example",
                "https://u@a.example",
                "HTTPS://a.example",
                "a.example",
                "",
            )
        ),
        ('issuer = "a:b"', "1: issuer: expected 1 to 64"),
        ('issuer = ""', "1: issuer: expected 1 to 64"),
        ('totp = "md5-4"', "1: totp: expected one of sha1-6, sha256-8"),
        ("totp = 6", "1: totp: expected text"),
    ],
)
def test_a_mistake_is_told_by_file_line_and_expectation(tmp_path, text, told):
    """Nothing is guessed at, and the error says where to look."""
    (tmp_path / "mfa.toml").write_text(text + "\n")
    with pytest.raises(ConfigurationError) as caught:
        MfaSettings.from_directory(tmp_path)
    assert f"mfa.toml:{told}" in str(caught.value)


def test_no_more_than_sixteen_origins(tmp_path):
    """Sixteen are read, the seventeenth is too many."""
    for count in (16, 17):
        listed = ", ".join(f'"https://d{n}.a.example"' for n in range(count))
        (tmp_path / "mfa.toml").write_text(f'rp_id = "a.example"\norigins = [{listed}]\n')
        if count == 16:
            assert len(MfaSettings.from_directory(tmp_path).origins) == 16
        else:
            with pytest.raises(ConfigurationError, match="at most 16"):
                MfaSettings.from_directory(tmp_path)
