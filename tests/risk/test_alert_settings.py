"""What an operator writes about alerts is read strictly, and his secrets are not shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError
from ztsession.risk.alert_settings import AlertSettings, WebhookSettings
from ztsession.risk.levels import Level

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
HOOK = '[webhooks.pager]\nurl = "https://pager.example/hook"\nsecret_file = "pager.secret"\n'


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, secret: str = SECRET + "\n", mode: int = 0o600) -> AlertSettings:
        (tmp_path / "alerts.toml").write_text(text)
        (tmp_path / "pager.secret").write_text(secret)
        (tmp_path / "pager.secret").chmod(mode)
        return AlertSettings.from_directory(tmp_path)

    return write


def test_without_a_file_the_log_is_told(tmp_path: Path):
    """Nobody has to write anything for alerts to be told somewhere."""
    assert AlertSettings.from_directory(tmp_path) == AlertSettings(Level.LOW, ())


def test_a_webhook_is_read_with_its_key(written):
    """Address, level and the bytes of the key, which no repr shows."""
    settings = written('[log]\nlevel = "medium"\n' + HOOK + 'level = "high"\n')
    expected = WebhookSettings("pager", "https://pager.example/hook", (KEY,), Level.HIGH)
    assert settings == AlertSettings(Level.MEDIUM, (expected,))
    assert "keys" not in repr(settings)
    assert written(HOOK.replace("https://pager.example", "http://127.0.0.1:8080")).webhooks[0].keys == (KEY,)


def test_two_secrets_sign_while_one_takes_the_place_of_the_other(written):
    """A receiver that has only one of them can go on while they are exchanged."""
    other = "whsec_" + base64.b64encode(bytes(64)).decode()
    assert written(HOOK, f"{other}\n{SECRET}\n").webhooks[0].keys == (bytes(64), KEY)


def test_A13_mistakes_are_told_with_their_place_and_without_the_secret(written):
    """Unknown keys, plain addresses, and secrets that are short, ill-formed or readable by others."""
    short = "whsec_" + base64.b64encode(KEY[:31]).decode()
    table = [
        (1, ("[mail]\n",), "alerts.toml:1: mail: unknown key"),
        (2, ("[log]\nfile = 'x'\n",), "alerts.toml:2: log.file: unknown key"),
        (3, ('[log]\nlevel = "worst"\n',), "alerts.toml:2: log.level: expected one of low"),
        (4, (HOOK + "retries = 3\n",), "alerts.toml:4: webhooks.pager.retries: unknown key"),
        (5, (HOOK.replace("https", "http"),), "alerts.toml:2: webhooks.pager.url: expected https"),
        (6, (HOOK.replace("//pager", "//a:b@pager"),), "alerts.toml:2: webhooks.pager.url: expected https"),
        (7, (HOOK.replace("pager]", '"p ager"]'),), "expected a name"),
        (8, (HOOK.partition("secret_file")[0],), "webhooks.pager.secret_file: expected text"),
        (9, (HOOK, short), "pager.secret:1: expected"),
        (10, (HOOK, "whsec_" + base64.b64encode(bytes(65)).decode()), "pager.secret:1: expected"),
        (11, (HOOK, SECRET[6:]), "pager.secret:1: expected"),
        (12, (HOOK, SECRET.rstrip("=")), "pager.secret:1: expected"),
        (13, (HOOK, SECRET.replace("A", "\u0410", 1)), "pager.secret:1: expected"),
        (14, (HOOK, f"{SECRET}\n{short}"), "pager.secret:2: expected"),
        (15, (HOOK, ""), "one secret on a line, or two"),
        (16, (HOOK, f"{SECRET}\n" * 3), "one secret on a line, or two"),
        (17, (HOOK, SECRET * 20), "at most 512 bytes"),
        (18, (HOOK, SECRET, 0o640), "expected mode 0600"),
        (19, ("".join(HOOK.replace("pager]", f"p{n}]") for n in range(17)),), "at most 16 webhooks"),
    ]
    for number, given, expected in table:
        with pytest.raises(ConfigurationError) as caught:
            written(*given)
        assert expected in str(caught.value), (number, str(caught.value))
        assert SECRET[6:30] not in str(caught.value), number
