"""``ztsession device``: a host's TPM is enrolled in four steps, with files carried between two machines.

    host        tpm-key        makes the attestation key in the TPM, and a request
    Authority   tpm-challenge  checks whose TPM it is, and makes a challenge that only this TPM can read
    host        tpm-activate   reads it
    Authority   tpm-enrol      sees that it was read, and enrols the key

A thief of these files could help that one TPM to be enrolled, and no more: a request holds public keys, only
the one TPM can read the challenge, and an answer counts once, for that challenge. What must be carried with
care is the fingerprint of the endorsement key: it decides whose TPM it is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ztsession.cli.failing import telling
from ztsession.errors import ConfigurationError

if TYPE_CHECKING:
    from ztsession.identity.enrolments import Enrolments
    from ztsession.posture.tpm_enrolment import EkTrust

__all__ = ["device"]

_AK = "0x81010002"
_FILE_MAX_BYTES = 1 << 20

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(path_type=Path)


@click.group()
def device() -> None:
    """Enrol a host's TPM: tpm-key, tpm-challenge, tpm-activate, tpm-enrol."""


def _on_tpm(command: Callable[..., None]) -> Callable[..., None]:
    @click.option(
        "--ak", default=_AK, show_default=True, help="Where the attestation key is: a persistent handle."
    )
    @click.option("--tcti", metavar="TCTI", help="Which TPM, as for tpm2-tools.  [default: theirs]")
    @click.option("--out", type=_NEW_FILE, required=True, help="A new file, to carry to the other side.")
    @wraps(command)
    def run(**given: str) -> None:
        with telling():
            command(**given)

    return run


def _on_state(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("--state", type=_DIRECTORY, required=True, help="The Authority's state directory.")
    @wraps(command)
    def run(state: Path, **given: object) -> None:
        with telling(), _opened(state) as enrolments:
            command(enrolments, **given)

    return run


_policy = click.option(
    "--policy", type=_DIRECTORY, required=True, help="Its policy directory, for devices.toml."
)


@device.command("tpm-key")
@click.argument("name")
@click.option("--kind", type=click.Choice(["ecc", "rsa"]), default="ecc", show_default=True)
@_on_tpm
def tpm_key(name: str, kind: Literal["ecc", "rsa"], ak: str, tcti: str | None, out: Path) -> None:
    """On the host: make the attestation key of the device NAME, and a request to enrol it."""
    from ztsession.integrations.tpm2_tools import Tpm2Tools
    from ztsession.posture.tpm_enrolment import ek_fingerprint

    with _new_file(out) as write:
        request = Tpm2Tools(tcti).create_ak(name, ak, kind=kind)
        write(request.to_bytes())
    click.echo(f"endorsement key, SHA-256: {ek_fingerprint(request.ek_public).hex()}")
    click.echo(f"its certificate: {'in the request' if request.ek_certificate else 'the TPM has none'}")


@device.command("tpm-challenge")
@_policy
@click.option("--request", type=_FILE, required=True, help="What tpm-key wrote.")
@click.option("--ek-fingerprint", metavar="HEX", help="SHA-256 of the endorsement key, seen at the host.")
@click.option("--ek-roots", type=_FILE, help="PEM of the TPM makers' CAs that are trusted instead.")
@click.option("--out", type=_NEW_FILE, required=True, help="A new file, to carry to the other side.")
@_on_state
def tpm_challenge(
    enrolments: Enrolments,
    policy: Path,
    request: Path,
    ek_fingerprint: str | None,
    ek_roots: Path | None,
    out: Path,
) -> None:
    """Beside the Authority: make a challenge for the TPM of a request. It can be answered for an hour."""
    from ztsession.posture.devices import FileDevices
    from ztsession.posture.tpm_enrolment import EnrolmentRequest, PendingChallenges, begin

    FileDevices.read(policy / "devices.toml")  # a mistake in there is told now
    asked = EnrolmentRequest.from_bytes(_read(request))
    trust = _trust(ek_fingerprint, ek_roots, asked.ek_certificate)
    challenge = begin(asked.device, asked.ek_public, asked.ak_public, trust, now=time.time())
    with _new_file(out) as write:
        write(challenge.credential)
        PendingChallenges(enrolments).keep(challenge)
    click.echo(f"a challenge for {asked.device}")


@device.command("tpm-activate")
@click.option("--challenge", type=_FILE, required=True, help="What tpm-challenge wrote.")
@_on_tpm
def tpm_activate(challenge: Path, ak: str, tcti: str | None, out: Path) -> None:
    """On the host: let its TPM answer the challenge."""
    from ztsession.integrations.tpm2_tools import Tpm2Tools

    with _new_file(out) as write:
        write(Tpm2Tools(tcti).activate(ak, _read(challenge)))


@device.command("tpm-enrol")
@click.argument("name")
@_policy
@click.option("--answer", type=_FILE, required=True, help="What tpm-activate wrote.")
@_on_state
def tpm_enrol(enrolments: Enrolments, name: str, policy: Path, answer: Path) -> None:
    """Beside the Authority: enrol the attestation key of the device NAME, whose challenge was answered.

    A device of devices.toml is not touched: what to add to that file is printed instead.
    """
    from ztsession.posture.devices import Device, FileDevices, StoredDevices
    from ztsession.posture.tpm_enrolment import PendingChallenges

    written, stored = FileDevices.read(policy / "devices.toml"), StoredDevices(enrolments)
    with enrolments.transaction():
        ak = PendingChallenges(enrolments).take(name, _read(answer), now=time.time())
        enrolled = Device(name, ak=ak)
        holder = written.holder(enrolled.keys[0])
        if holder is not None and holder.name != name:
            raise ConfigurationError(f"this attestation key belongs to {holder.name} in devices.toml")
        if written.named(name) is not None:
            click.echo(f"# for [devices.\"{name}\"] in devices.toml\nak = '''\n{ak}'''")
            return
        before = stored.named(name)
        stored.enrol(enrolled if before is None else replace(before, ak=ak))
    click.echo(f"enrolled: {name}")


@device.command()
@click.argument("name")
@_on_state
def remove(enrolments: Enrolments, name: str) -> None:
    """End the enrolment of a device that is not in devices.toml; sessions that live are not touched."""
    from ztsession.posture.devices import StoredDevices

    if not StoredDevices(enrolments).remove(name):
        raise click.ClickException(f"no device {name} is enrolled in this state")
    click.echo("removed")


@contextmanager
def _opened(state: Path) -> Iterator[Enrolments]:
    from ztsession.store.enrolments import SqliteEnrolments
    from ztsession.store.sqlite import SqliteStore

    # Opened, a database would be made: a device enrolled beside the Authority that asks for it.
    if not (state / "authority.sqlite").is_file():
        raise click.ClickException(f"{state}: expected the state of an Authority that was served before")
    with SqliteStore(state / "authority.sqlite") as store:
        yield SqliteEnrolments(store)


def _trust(fingerprint: str | None, roots: Path | None, certificate: bytes) -> EkTrust:
    from ztsession.posture.tpm_certificates import read_roots
    from ztsession.posture.tpm_enrolment import EkCertificate, EkFingerprint

    if (fingerprint is None) == (roots is None):
        raise click.UsageError("expected either --ek-fingerprint or --ek-roots")
    if roots is not None:
        return EkCertificate([certificate], read_roots(roots))
    if not re.fullmatch("[0-9A-Fa-f]{64}", fingerprint or ""):
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="--ek-fingerprint")
    return EkFingerprint(bytes.fromhex(fingerprint or ""))


def _read(path: Path) -> bytes:
    with path.open("rb") as source:
        return source.read(_FILE_MAX_BYTES)


@contextmanager
def _new_file(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A file that is made before what goes into it, so that no key is left in a TPM for want of one; it is
    gone again if anything fails. Never over an older one, which could be on its way.
    """
    with _writing(path):
        sink = path.open("xb")

    def write(data: bytes) -> None:
        sink.write(data)
        sink.flush()

    try:
        with _writing(path), sink:
            yield write
    except BaseException:
        path.unlink()
        raise


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=str(path)) from None
