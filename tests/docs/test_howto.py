"""Every how-to page works as typed: its files, its Python and its commands, from top to bottom."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from howto_steps import same, write
from pages import ROOT, Block, blocks, run

PAGES = sorted(path.stem for path in (ROOT / "docs/howto").glob("*.md"))
MORE = "more of "
#: What needs hands or hardware is captioned so, and is looked at without being run.
NOT_RUN = "needs "


def program(page: str) -> str:
    """One program of all that a page says, in its order."""
    return "import howto_steps as _page\n" + "\n".join(map(_step, blocks(f"docs/howto/{page}.md")))


def _step(block: Block) -> str:
    if block.caption.startswith(NOT_RUN):
        return ""
    if block.caption.startswith(MORE):
        return f"_page.append({block.caption.removeprefix(MORE)!r}, {block.text!r})"
    if block.caption:
        return f"_page.write({block.caption!r}, {block.text!r})"
    if block.kind == "console":
        return f"_page.console({block.text!r})"
    return block.text if block.kind == "python" else ""


def works(page: str, directory: Path, change: Callable[[str], str] = str) -> None:
    """Run a page in a directory with the two files of the tutorial, and compare what is printed."""
    for file in (block for block in blocks("docs/tutorial.md") if block.caption):
        write(str(directory / file.caption), file.text)
    done = run(change(program(page)), directory)
    assert done.returncode == 0, done.stderr
    shown = blocks(f"docs/howto/{page}.md")
    expected = "".join(block.text for block in shown if block.kind == "text" and not block.caption)
    assert same(expected, done.stdout), f"the page shows:\n{expected}\nprinted:\n{done.stdout}"
    assert "Traceback" not in done.stderr, done.stderr


@pytest.fixture(autouse=True)
def _steps(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cedarpy", reason="the pages run an Authority: install ztsession[authority]")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose name leaves room for a socket's: pytest's own can be longer."""
    directory = Path(tempfile.mkdtemp(prefix="zts"))
    yield directory
    shutil.rmtree(directory)


def test_every_page_is_run() -> None:
    """There is a test below for each page, and a page for each test."""
    named = {name.removeprefix("test_page_").replace("_", "-") for name in globals()}
    assert [page for page in PAGES if page not in named] == []
    assert PAGES != []


def test_page_identities(tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, certificates of a CA of openssl's, a SPIFFE agent, and tokens of a provider on this machine."""
    for needed in ("httpx", "spiffe", "joserfc"):
        pytest.importorskip(needed, reason=f"the page needs {needed}")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    from howto_parts import Agent, Provider

    agent, provider = Agent(short / "agent.sock", tmp_path), Provider()
    try:
        monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent.address)
        # Addresses only: the name of an issuer ends without a slash, and stays.
        works("identities", tmp_path, lambda text: text.replace("https://login.firm.example/", provider.url))
    finally:
        provider.close()
        agent.close()


def test_page_second_factors(tmp_path: Path) -> None:
    """One-time codes and recovery codes, enrolled, shown, used up, and locked."""
    pytest.importorskip("pyotp", reason="the page needs pyotp")
    works("second-factors", tmp_path)


def test_page_posture(tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement, a token of an attester, and a TPM in software that is enrolled from the command line."""
    sys.path.append(str(ROOT / "tests/posture"))
    from software_tpm import software_tpm

    pytest.importorskip("joserfc", reason="the page needs joserfc")
    with software_tpm(short) as tpm:
        monkeypatch.setenv("TPM2TOOLS_TCTI", tpm.tcti)
        works("posture", tmp_path)


def test_page_staying_connected(tmp_path: Path) -> None:
    """Renewal, a keeper, and full authentication."""
    works("staying-connected", tmp_path)


def test_page_re_authentication(tmp_path: Path) -> None:
    """Refusals that calls get over by themselves, and an order that is never sent twice."""
    works("re-authentication", tmp_path)


def test_page_alerts(tmp_path: Path) -> None:
    """Settings, a receiver that checks signatures, and sinks of the program's own."""
    pytest.importorskip("httpx", reason="the page needs httpx")
    works("alerts", tmp_path)


def test_page_transports(tmp_path: Path) -> None:
    """Sockets, an event loop, HTTP behind a real server, TLS, and a handshake bound to its channel."""
    for needed in ("uvicorn", "httpx", "OpenSSL"):
        pytest.importorskip(needed, reason=f"the page needs {needed}")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    works("transports", tmp_path)


def test_page_authzen(tmp_path: Path) -> None:
    """Questions of a caller with a token, about circumstances and about a session."""
    for needed in ("uvicorn", "httpx"):
        pytest.importorskip(needed, reason=f"the page needs {needed}")
    works("authzen", tmp_path)


def test_page_detectors(tmp_path: Path) -> None:
    """A replayed token is found, and the next call wants a step-up; a source is registered."""
    works("detectors", tmp_path)


def test_page_receive_signals(tmp_path: Path) -> None:
    """Events of a device management that is made up, pushed to a real server, and the calls between them."""
    for needed in ("uvicorn", "httpx", "joserfc"):
        pytest.importorskip(needed, reason=f"the page needs {needed}")
    works("receive-signals", tmp_path)


def test_page_send_signals(tmp_path: Path) -> None:
    """A receiver that polls, one that is pushed to, and a new key."""
    for needed in ("uvicorn", "httpx", "joserfc"):
        pytest.importorskip(needed, reason=f"the page needs {needed}")
    works("send-signals", tmp_path)


def test_page_threat_lists(tmp_path: Path) -> None:
    """Lists of three formats, matches before and after a change, and a list that breaks."""
    pytest.importorskip("stix2", reason="the page needs stix2")
    works("threat-lists", tmp_path)


def test_page_continuous_posture(tmp_path: Path) -> None:
    """A program is exchanged, noticed, shown and judged; silence restricts, and posture answers it."""
    works("continuous-posture", tmp_path)


def test_page_authority_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unlocking, all three rotations, and a token of SoftHSM2's."""
    pytest.importorskip("pkcs11", reason="the page needs python-pkcs11")
    library = Path("/usr/lib/softhsm/libsofthsm2.so")
    if not library.exists() or not all(map(shutil.which, ("softhsm2-util", "pkcs11-tool"))):
        pytest.skip("SoftHSM2 and OpenSC are not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(
        f"directories.tokendir = {tmp_path / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    works("authority-keys", tmp_path)


def test_page_floods(tmp_path: Path) -> None:
    """Limits for each source, and what they say."""
    works("floods", tmp_path)


def test_page_release_gate(tmp_path: Path) -> None:
    """A promotion that is refused in six ways, and one that passes."""
    works("release-gate", tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_not_run_names_what_exists(page: str) -> None:
    """Blocks that need hands or hardware parse, and import only names that are there."""
    for block in blocks(f"docs/howto/{page}.md"):
        if block.kind == "toml":
            tomllib.loads(block.text)
        if not (block.kind == "python" and block.caption.startswith(NOT_RUN)):
            continue
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom):
                module = import_module(node.module or "")
                assert [each.name for each in node.names if not hasattr(module, each.name)] == []


def test_a_page_that_lies_is_found_out(tmp_path: Path) -> None:
    """A command that prints something else, or fails unsaid, ends the page."""
    for said in ("$ echo one\ntwo\n", "$ false\n"):
        done = subprocess.run(
            [sys.executable, "-c", f"import howto_steps; howto_steps.console({said!r})"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "the page shows" in done.stderr
