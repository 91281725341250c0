"""The command line, run as people run it."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest

import ztsession as zts
from ztsession.authority.keys import AuthorityKeys
from ztsession.cli.authority import _reload
from ztsession.errors import ConfigurationError
from ztsession.integrations.stream import SocketTransport
from ztsession.tickets import SegmentKey
from ztsession.wire.sealed_file import Unlock

HOME = Path(zts.__file__).parent.parent
EXAMPLE = Path(zts.__file__).parent / "demo" / "policy"


def ztsession(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ztsession", *arguments], cwd=HOME, capture_output=True, text=True, timeout=60
    )


def keygen(what: str, name: str, out: Path, *more: str) -> str:
    ran = ztsession("keygen", what, name, "--out", str(out), *more)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy directory with one subject and one device, whose keys are in files beside it."""
    directory = tmp_path / "policy"
    shutil.copytree(EXAMPLE, directory)
    (directory / "subjects.toml").write_text(
        keygen("subject", "algo-1", tmp_path / "algo.key", "--role", "market-making")
    )
    (directory / "devices.toml").write_text(keygen("device", "host-1", tmp_path / "host.key"))
    return directory


def test_version() -> None:
    """The command tells the package's version."""
    assert ztsession("--version").stdout == f"ztsession {zts.__version__}\n"


def test_help_names_every_command() -> None:
    """Whoever asks for help sees what there is."""
    ran = ztsession("--help")
    assert ran.returncode == 0
    for command in ("authority", "demo", "keygen", "policy"):
        assert command in ran.stdout


def test_importing_the_library_imports_no_command_line() -> None:
    """Neither click nor rich is loaded by a program that only verifies."""
    program = "import sys, ztsession, ztsession.enforcement; print({'click', 'rich'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "set()\n"


def test_keygen_writes_private_keys_and_prints_public_ones(tmp_path: Path) -> None:
    """The file is for its owner alone and loads; what is printed holds no secret of it."""
    algo, host = tmp_path / "algo.key", tmp_path / "host.key"
    entry = keygen(
        "subject", "algo-1", algo, "--kind", "service", "--role", "market-making", "--desk", "rates"
    )
    identity, device_entry = zts.Ed25519Identity.from_file(algo), keygen("device", "host-1", host)
    device = zts.DevicePosture.from_file(host)
    assert entry == identity.registry_entry("service", roles=("market-making",), desk="rates")
    assert device_entry == device.registry_entry()
    assert identity.signing_seed.hex() not in entry
    assert device.signing_seed.hex() not in device_entry
    assert {stat.S_IMODE(path.stat().st_mode) for path in (algo, host)} == {0o600}


@pytest.mark.parametrize("what", ["subject", "device"])
def test_keygen_never_overwrites(tmp_path: Path, what: str) -> None:
    """A key file that is there stays as it is, and nothing is printed that could be enrolled."""
    path = tmp_path / "some.key"
    keygen(what, "name", path)
    before = path.read_bytes()
    ran = ztsession("keygen", what, "name", "--out", str(path))
    assert ran.returncode == 1
    assert str(path) in ran.stderr
    assert ran.stdout == ""
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", ["subject", "device"])
def test_keygen_refuses_what_is_no_name(tmp_path: Path, what: str) -> None:
    """A name that could not be enrolled makes no key."""
    ran = ztsession("keygen", what, "no name", "--out", str(tmp_path / "some.key"))
    assert ran.returncode == 1
    assert "expected 1 to 128 characters" in ran.stderr
    assert not (tmp_path / "some.key").exists()


def test_policy_check_passes_a_good_directory(policy: Path) -> None:
    """A directory that an Authority would take is told part by part, with status 0."""
    ran = ztsession("policy", "check", str(policy))
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line.partition(":")[0] for line in ran.stdout.splitlines()] == [
        "catalog",
        "policies",
        "subjects",
        "devices",
        "identities",
        "second factors",
        "risk",
        "threats",
        "detectors",
        "events of others",
    ]


@pytest.mark.parametrize(
    ("file", "more", "says"),
    [
        ("catalog.toml", "\n[segments.orders.operations.late]\neffect = 'none'\n", "expected one of read"),
        (
            "trading.cedar",
            "\npermit (principal, action, resource) when { principal.height > 2 };\n",
            "height",
        ),
        ("subjects.toml", '\n[subjects."other"]\nkind = "robot"\n', "expected"),
        ("devices.toml", "\n[posture]\nkernels = []\n", "expected at least one value"),
        ("identity.toml", "[x509]\nroots = []\n", "names of PEM files"),
        ("mfa.toml", 'rp_id = "Not A Domain"\n', "expected"),
        (
            "threats.toml",
            "[lists.a]\nfile = 'a'\nof = 'names'\nformat = 'text'\n",
            "expected one of addresses",
        ),
        ("detectors.toml", "[denials]\ncount = 0\n", "expected an integer from"),
        ("ssf.toml", "[receivers.a]\n", "unknown key"),
        ("risk.toml", "[levels]\nHIGH = { leave = 0 }\n", "expected an integer from 1 to 80"),
    ],
)
def test_policy_check_names_file_and_line(policy: Path, file: str, more: str, says: str) -> None:
    """What is wrong is told as file, line and what was expected, with status 1; the rest is still checked."""
    path = policy / file
    text = path.read_text() if path.exists() else ""
    path.write_text(text + more)
    ran = ztsession("policy", "check", str(policy))
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    place, _, _ = line.partition(": ")
    name, _, number = place.rpartition(":")
    assert name.endswith(file)
    assert int(number) > text.count("\n")
    assert says in line
    assert len(ran.stdout.splitlines()) == 9


def test_policy_check_tells_everything_at_once(policy: Path) -> None:
    """Two mistakes in two files are two lines."""
    (policy / "devices.toml").unlink()
    (policy / "subjects.toml").write_text("subjects = 1\n")
    ran = ztsession("policy", "check", str(policy))
    assert ran.returncode == 1
    assert len(ran.stderr.splitlines()) == 2


def serving(state: Path, policy: Path, listen: str = "127.0.0.1:0") -> subprocess.Popen[str]:
    arguments: Sequence[str] = ["--state", str(state), "--policy", str(policy), "--listen", listen]
    return subprocess.Popen(
        [sys.executable, "-m", "ztsession", "authority", "serve", *arguments],
        cwd=HOME,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_an_authority_serves_handshakes_until_told_to_stop(tmp_path: Path, policy: Path) -> None:
    """A client with keys of keygen gets its session; a bad reload is not taken; SIGTERM ends with 0."""
    with serving(tmp_path / "state", policy) as authority:
        try:
            assert authority.stdout is not None
            said = dict(
                line.rsplit(" ", 1) for line in (authority.stdout.readline().strip() for _ in range(3))
            )
            host, port = said["listening on"].split(":")
            root = bytes.fromhex(said["root key, for clients:"])
            # Points are set up before there is anybody to grant a ticket to.
            out = tmp_path / "orders.toml"
            command = ("authority", "export-segment", "orders", "--state", str(tmp_path / "state"))
            assert ztsession(*command, "--out", str(out)).stderr == ""
            assert SegmentKey.from_file(out).segment == "orders"
            with SocketTransport.connect((host, int(port))) as line:
                session = zts.connect(
                    line,
                    identity=zts.Ed25519Identity.from_file(tmp_path / "algo.key"),
                    posture=zts.DevicePosture.from_file(tmp_path / "host.key"),
                    root=root,
                    scopes=["orders.*"],
                )
            assert session.segments == ("orders",)
            (policy / "catalog.toml").write_text("version = 2\n")
            authority.send_signal(signal.SIGHUP)
            assert authority.stderr is not None
            assert "was not taken" in next(line for line in authority.stderr if "policy" in line)
        finally:
            authority.send_signal(signal.SIGTERM)
        assert authority.wait(20) == 0
        rest = authority.stderr.read()
    assert "Traceback" not in rest


def test_no_reload_that_fails_ends_the_process(caplog: pytest.LogCaptureFixture) -> None:
    """SIGHUP is taken in the main thread: what escaped from there would stop the Authority."""
    for error in (ConfigurationError("wrong"), RuntimeError("unforeseen")):
        authority = Mock()
        authority.reload.side_effect = error
        _reload(authority)
        assert str(error) in caplog.text


def test_a_served_authority_watches_its_policies(tmp_path: Path, policy: Path) -> None:
    """A broken version is refused, out loud, without anybody having to send a signal."""
    with serving(tmp_path / "state", policy) as authority:
        try:
            assert authority.stdout is not None
            assert authority.stderr is not None
            authority.stdout.readline()
            whole = (policy / "catalog.toml").read_text()
            (policy / "catalog.toml").write_text("version = 2\n")
            said = next(line for line in authority.stderr if "was not taken" in line)
            assert "catalog.toml:1: version: expected version = 1" in said
            (policy / "catalog.toml").write_text(whole)
        finally:
            authority.send_signal(signal.SIGTERM)
        assert authority.wait(20) == 0


def test_a_served_authority_tells_as_alerts_toml_says(tmp_path: Path, policy: Path) -> None:
    """Settings for alerts that cannot be taken end the start, with their place."""
    (policy / "alerts.toml").write_text('[webhooks.pager]\nurl = "http://pager.example/"\n')
    with serving(tmp_path / "state", policy) as authority:
        _, said = authority.communicate(timeout=60)
    assert authority.returncode == 1
    assert "alerts.toml:2: webhooks.pager.url: expected https" in said


def test_no_address_of_a_webhook_is_in_the_log_of_a_served_authority() -> None:
    """What posts it would tell it with every alert."""
    program = """
import logging
from ztsession.cli.authority import _log_to_stderr
_log_to_stderr()
logging.getLogger("httpx").info("HTTP Request: POST https://pager.example/hooks/a-secret")
logging.getLogger("ztsession.alerts").info("told")
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=HOME, capture_output=True, text=True, check=True
    )
    assert "told" in ran.stderr
    assert "a-secret" not in ran.stderr


def test_an_ipv6_address_is_told_as_listen_takes_it() -> None:
    """In brackets, so that address and port can be told apart; a path and IPv4 stay as they are."""
    from ztsession.cli import authority

    for told in ("[::1]:7443", "127.0.0.1:7443"):
        assert authority._shown(authority._address(told)) == told
    assert authority._shown("authority.sock") == "authority.sock"


@pytest.mark.parametrize(("listen", "status"), [("nowhere", 2), ("127.0.0.1:99999", 2), ("203.0.113.1:1", 1)])
def test_an_authority_that_cannot_listen_says_so(
    tmp_path: Path, policy: Path, listen: str, status: int
) -> None:
    """An address that is none is wrong usage, one that cannot be had is an error; both in a sentence."""
    with serving(tmp_path / "state", policy, listen) as authority:
        out, err = authority.communicate(timeout=60)
    assert authority.returncode == status
    assert out == ""
    assert "Traceback" not in err
    assert "HOST:PORT" in err or "cannot listen" in err


# ---- The Authority's keys


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state directory of an Authority that made tickets for orders once."""
    AuthorityKeys.open(tmp_path / "state").segment("orders")
    return tmp_path / "state"


def keys_of(state: Path, *more: str) -> list[list[str]]:
    ran = ztsession("authority", "keys", "--state", str(state), *more)
    assert ran.returncode == 0, ran.stderr
    return [line.split() for line in ran.stdout.splitlines()]


def test_keys_are_rotated_step_by_step(state: Path) -> None:
    """Each step prints what has to be handed on, and what is too early says until when."""

    def rotate(*words: str) -> subprocess.CompletedProcess[str]:
        return ztsession("authority", "rotate", *words, "--state", str(state))

    before = AuthorityKeys.open(state)
    assert rotate("static").stdout == f"static key: {AuthorityKeys.open(state).static_public.hex()}\n"
    staged = rotate("signing", "stage").stdout.split()[-1]
    assert "overlap lasts until" in rotate("signing", "activate").stderr
    assert rotate("signing", "activate", "--overlap-s", "0").stdout == f"ticket key: {staged}\n"
    assert AuthorityKeys.open(state).signing_public.hex() == staged
    retired = rotate("signing", "retire", "--overlap-s", "0").stdout.split()[-1]
    assert retired == before.signing_public.hex()
    file = Path(rotate("segment", "orders", "stage").stdout.split()[-1])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert rotate("segment", "orders", "withdraw").returncode == 0
    assert not file.exists()
    assert rotate("segment", "orders", "activate").returncode == 1
    assert [row[0] for row in keys_of(state)] == ["root", "static", "static", "signing", "segment"]
    assert "no key of segment 'md'" in rotate("segment", "md", "stage").stderr


def test_the_key_of_sets_is_rotated_step_by_step(state: Path) -> None:
    """What is staged is what signs once it was activated; each step is in the audit log."""

    def rotate(*words: str) -> subprocess.CompletedProcess[str]:
        return ztsession("authority", "rotate", "sets", *words, "--state", str(state))

    assert "no key of SETs that is next" in rotate("activate").stderr
    staged = rotate("stage").stdout
    assert staged.startswith("kid: ")
    assert "overlap lasts until" in rotate("activate").stderr
    assert rotate("activate", "--overlap-s", "0").stdout == staged
    assert rotate("retire", "--overlap-s", "0").stdout not in ("", staged)
    log = [json.loads(line) for line in (state / "audit.jsonl").read_text().splitlines()]
    steps = [entry["step"] for entry in log if entry["event"] == "rotation.sets"]
    assert steps == ["staged", "activated", "retired"]


def test_keys_are_sealed_anew_with_a_file_kept_elsewhere(tmp_path: Path, state: Path) -> None:
    """With another key file the keys are the same; without it they are shut."""
    before, elsewhere = keys_of(state), tmp_path / "mounted.key"
    assert ztsession("keygen", "unlock", "--out", str(elsewhere)).returncode == 0
    ran = ztsession("authority", "reseal", "--state", str(state), "--new-unlock-key", str(elsewhere))
    assert (ran.returncode, ran.stderr) == (0, "")
    shut = ztsession("authority", "keys", "--state", str(state))
    assert (shut.returncode, shut.stdout) == (1, "")
    assert "is not its key file" in shut.stderr
    assert keys_of(state, "--unlock-key", str(elsewhere)) == before


def test_a_segment_key_is_exported(tmp_path: Path, state: Path) -> None:
    """What is written is the segment's key, for a segment that there is."""
    out = tmp_path / "orders.toml"
    command = ("authority", "export-segment", "--state", str(state), "--out")
    assert ztsession(*command, str(out), "orders").returncode == 0
    assert SegmentKey.from_file(out) == AuthorityKeys.open(state).segment("orders")
    assert "segment 'md' yet: orders" in ztsession(*command, str(tmp_path / "md.toml"), "md").stderr
    assert not (tmp_path / "md.toml").exists()


def test_a_directory_without_keys_is_none(tmp_path: Path) -> None:
    """Nothing is made where nothing was."""
    for command in (("keys",), ("rotate", "static"), ("reseal", "--new-unlock-key", "x")):
        ran = ztsession("authority", *command, "--state", str(tmp_path))
        assert ran.returncode == 1
        assert "holds no keys of an Authority" in ran.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_passphrase_is_asked_for_and_excludes_a_file(state: Path) -> None:
    """It is read from the terminal or standard input, never from an argument."""
    ran = ztsession("authority", "keys", "--state", str(state), "--passphrase", "--unlock-key", "x")
    assert ran.returncode == 2
    phrase = "correct horse battery staple"
    AuthorityKeys.open(state).reseal(Unlock.passphrase(phrase, memory_mib=64))
    command = [sys.executable, "-m", "ztsession", "authority", "keys", "--state", str(state), "--passphrase"]
    done = subprocess.run(command, input=f"{phrase}\n", cwd=HOME, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("root "), done.stderr
    assert phrase not in done.stdout + done.stderr


class Terminal:
    """Somebody who sits before ``ztsession authority serve --passphrase``."""

    def __init__(self, *arguments: str) -> None:
        self._mine, its = pty.openpty()
        self._screen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ztsession", "authority", "serve", "--passphrase", *arguments],
            cwd=HOME,
            stdin=its,
            stdout=its,
            stderr=its,
            preexec_fn=_takes_the_terminal,
        )
        os.close(its)

    def reads(self, wanted: str) -> None:
        """Wait until this is on the screen; what comes behind it is left for the next reading."""
        until = time.monotonic() + 60
        while wanted not in self._screen:
            assert time.monotonic() < until, self._screen
            if select.select([self._mine], [], [], 0.1)[0]:
                self._screen += os.read(self._mine, 4096).decode()
        self._screen = self._screen.partition(wanted)[2]

    def types(self, text: str) -> None:
        """Type once the echo is off: what is typed before would be thrown away."""
        until = time.monotonic() + 60
        while termios.tcgetattr(self._mine)[3] & termios.ECHO:
            assert time.monotonic() < until, "nobody asked for a passphrase"
            time.sleep(0.01)
        os.write(self._mine, text.encode())

    def ends(self) -> int:
        """The exit status. Somebody goes on reading: what is said last would otherwise wait to be read."""
        until = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < until, self._screen
            if select.select([self._mine], [], [], 0.05)[0]:
                try:
                    self._screen += os.read(self._mine, 4096).decode()
                except OSError:
                    return self.process.wait(20)  # nobody has the other end open any more
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._mine)


def _takes_the_terminal() -> None:
    os.setsid()
    os.close(os.open(os.ttyname(0), os.O_RDWR))


def test_a_new_passphrase_is_typed_twice(tmp_path: Path, policy: Path) -> None:
    """A slip of the finger does not seal the first keys with a word that nobody knows."""
    listen = ("--policy", str(policy), "--listen", "127.0.0.1:0")
    at = Terminal("--state", str(tmp_path / "fresh"), *listen)
    try:
        for typed in ("correct horse battery staple", "correct horse battery stable"):
            at.reads(": ")
            at.types(f"{typed}\n")
        at.reads("do not match")
        assert not (tmp_path / "fresh").exists()
        for _ in range(2):
            at.reads(": ")
            at.types("correct horse battery staple\n")
        at.reads("ticket key")
        at.process.send_signal(signal.SIGTERM)
        assert at.ends() == 0
    finally:
        at.close()


def test_whoever_is_asked_for_a_passphrase_can_leave(state: Path, policy: Path) -> None:
    """Ctrl-C at the question ends the command, at once and without a trace."""
    at = Terminal("--state", str(state), "--policy", str(policy), "--listen", "127.0.0.1:0")
    try:
        at.reads("Passphrase: ")
        at.types("\x03")
        assert at.ends() == 1
    finally:
        at.close()
