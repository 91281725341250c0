"""``ztsession authority``: an Authority as a process of its own, and the care of its keys."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ztsession.cli.failing import telling
from ztsession.cli.rotate import export_segment, keys, reseal, rotate
from ztsession.cli.unlocking import unlocking, unlocking_with
from ztsession.errors import ZtsError

if TYPE_CHECKING:
    from ztsession.authority import Authority

__all__ = ["authority"]

_log = logging.getLogger("ztsession.cli")


@click.group()
def authority() -> None:
    """Run an Authority, and look after its keys."""


for command in (export_segment, keys, reseal, rotate):
    authority.add_command(command)


@authority.command()
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), required=True, help="Made on first use."
)
@click.option("--policy", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option(
    "--listen", default="127.0.0.1:7443", show_default=True, metavar="HOST:PORT", help="Port 0: any."
)
@click.option(
    "--watch/--no-watch",
    default=True,
    show_default=True,
    help="Read the policy directory again when it has changed.",
)
@unlocking
def serve(
    state: Path, policy: Path, listen: str, watch: bool, unlock_key: Path | None, passphrase: bool
) -> None:
    """Serve handshakes and change feeds until SIGINT or SIGTERM; SIGHUP reads the policy directory again."""
    from ztsession.authority import Authority
    from ztsession.authority.keys import KEYS_FILE
    from ztsession.integrations.webhook import open_alerts
    from ztsession.server import StreamServer

    _log_to_stderr()
    stop, address = threading.Event(), _address(listen)
    with telling():
        # Before the signals are taken: whoever is asked for a passphrase can still leave.
        unlock = unlocking_with(unlock_key, passphrase, new=not (state / KEYS_FILE).exists())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with (
        telling(),
        open_alerts(policy) as alerts,
        Authority.open(state, policy=policy, unlock=unlock, alerts=alerts) as opened,
    ):
        _make_segment_keys(opened)
        signal.signal(signal.SIGHUP, lambda *_: _reload(opened))
        if watch:
            opened.watch(after=lambda: _make_segment_keys(opened))
        with StreamServer(address, opened.connection) as server:
            click.echo(f"listening on {_shown(server.address)}")
            click.echo(f"root key, for clients: {opened.root.hex()}")
            click.echo(f"ticket key, for enforcement points: {opened.ticket_key.hex()}")
            stop.wait()


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # What it tells at INFO are whole addresses, and that of a webhook may be a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _reload(authority: Authority) -> None:
    try:
        authority.reload()
        _make_segment_keys(authority)
    except ZtsError as error:
        # What was in force stays in force.
        _log.error("the policy directory was not taken: %s", error)
    except Exception:
        # Whatever it was, it would leave the signal's handler and end the process.
        _log.exception("the policy directory could not be read")


def _make_segment_keys(authority: Authority) -> None:
    # Points are given theirs before there is anybody to grant a ticket to.
    for name in authority.decider.policies.current.catalog.segments:
        authority.segment_key(name)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 65536):
        raise click.BadParameter("expected HOST:PORT", param_hint="--listen")
    return host.strip("[]"), int(port)


def _shown(address: str | tuple[str, int]) -> str:
    # As --listen takes it.
    if isinstance(address, str):
        return address
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
