"""``ztsession subject``: who is enrolled beside the operator's file, also while the Authority runs.

A running Authority looks subjects up in its database each time, so who is added here can connect at once,
and who is removed can do so no more, nor renew. What lives on until the Authority next reads its directory
are the sessions that the removed one has: only that process can end them.

``subjects.toml`` is right wherever both name somebody. So what could have no effect, a name or a credential
of that file, is refused here and not laid down silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from ztsession.cli.failing import telling
from ztsession.cli.state import SUBJECTS_FILE, directories, enrolments_in, factors_in
from ztsession.cli.unlocking import unlocking, unlocking_with
from ztsession.errors import ConfigurationError, EvidenceError, ZtsError
from ztsession.identity.oidc_name import SUBJECT_MAX_BYTES, is_issuer, is_subject
from ztsession.identity.protocol import SubjectKind
from ztsession.identity.subjects import (
    KINDS,
    AllSubjects,
    FileSubjects,
    StoredSubjects,
    Subject,
    ed25519_credential,
    oidc_credential,
)
from ztsession.wire.signature import check_public_key

if TYPE_CHECKING:
    from ztsession.identity.enrolments import Enrolments

__all__ = ["subject"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SESSIONS_LIVE = (
    "sessions by what was taken away go on until the Authority reads its policy directory again: "
    "if it runs, send SIGHUP to end its sessions"
)


@click.group()
def subject() -> None:
    """Enrol subjects in an Authority's state, beside those of subjects.toml."""


def _on_state(command: Callable[..., None]) -> Callable[..., None]:
    @directories(SUBJECTS_FILE)
    @wraps(command)
    def run(state: Path, policy: Path, **given: Any) -> None:
        with telling(), enrolments_in(state) as enrolments:
            command(enrolments, state=state, policy=policy, **given)

    return run


_name = click.option("--name", required=True, metavar="NAME", help="The subject's name.")


def _proven(command: _Command) -> _Command:
    for option, of, about in (
        ("--oidc-subject", "SUB", "The sub of that issuer's tokens for it."),
        ("--oidc-issuer", "URL", "The OpenID issuer whose tokens name it, with --oidc-subject."),
        ("--dns-name", "NAME", "The DNS name in its certificate."),
        ("--spiffe-id", "ID", "The SPIFFE ID in its certificate."),
        ("--public-key", "HEX", "Its Ed25519 public key, as keygen prints it."),
    ):
        command = click.option(option, metavar=of, help=about)(command)
    return command


@subject.command()
@_name
@click.option("--kind", type=click.Choice(KINDS), required=True)
@click.option("--role", "roles", multiple=True, help="A role that policies ask for; may be given again.")
@click.option("--desk", default="", help="The desk that policies ask for.")
@click.option("--mfa", is_flag=True, help="No session without a second factor.")
@_proven
@click.option("--replace", is_flag=True, help="Put this in the place of its enrolment in this state.")
@_on_state
def add(
    enrolments: Enrolments,
    *,
    state: Path,
    policy: Path,
    name: str,
    kind: str,
    roles: tuple[str, ...],
    desk: str,
    mfa: bool,
    replace: bool,
    **proven: str | None,
) -> None:
    """Enrol a subject by one or more ways to prove it. A running Authority knows it at once.

    With --replace, sessions by a credential that it had, and has no longer, go on until the Authority reads
    its policy directory again: send SIGHUP to end its sessions.
    """
    enrolled = Subject(name, cast(SubjectKind, kind), roles, desk, _credentials(**proven), mfa)
    _check_free(enrolled, policy / SUBJECTS_FILE)
    stored = StoredSubjects(enrolments)
    with enrolments.transaction():
        before = stored.named(name)
        if before is not None and not replace:
            raise ConfigurationError(f"{name} is enrolled in {state} already: --replace changes that")
        stored.enrol(enrolled)
    click.echo(f"enrolled: {name}")
    if before is not None and not set(before.credentials) <= set(enrolled.credentials):
        click.echo(_SESSIONS_LIVE)


@subject.command()
@_name
@_on_state
@unlocking
def remove(
    enrolments: Enrolments, *, state: Path, policy: Path, name: str, unlock_key: Path | None, passphrase: bool
) -> None:
    """End the enrolment of a subject that is not in subjects.toml, and forget its second factors.

    It can no longer connect or renew. Its sessions go on until the Authority reads its policy directory
    again: send SIGHUP to end its sessions.
    """
    file = policy / SUBJECTS_FILE
    # First of all: whatever else is wrong, he is out.
    if not StoredSubjects(enrolments).remove(name):
        raise ConfigurationError(f"no subject {name!r} was enrolled in {state}: is it in {file}?")
    click.echo(f"removed: {name}")
    click.echo(_SESSIONS_LIVE)
    if FileSubjects(file).named(name) is not None:
        click.echo(f"{file} names it, too: there it is still enrolled")
    elif _has_factors(enrolments, name):
        try:
            factors = factors_in(state, policy, enrolments, unlocking_with(unlock_key, passphrase))
            for factor in ("totp", "webauthn", "recovery"):
                factors.remove(name, factor)
        except ZtsError as error:
            # Whoever tries again is told that there is no such subject any more: so what is left is said now.
            left = "its second factors are still kept: `ztsession mfa remove` takes them away"
            raise click.ClickException(f"{error}; {left}") from None


@subject.command("list")
@_on_state
def listed(enrolments: Enrolments, *, state: Path, policy: Path) -> None:
    """Print every subject, what is known of it, and whether the file or the state says so."""
    written = FileSubjects(policy / SUBJECTS_FILE)
    every = AllSubjects(written, StoredSubjects(enrolments))
    for name in written.names:
        click.echo(_line(cast(Subject, written.named(name)), "file", every))
    for _, data in enrolments.all("subject"):
        click.echo(_line(Subject.from_bytes(data), "state", every))


def _credentials(
    public_key: str | None,
    spiffe_id: str | None,
    dns_name: str | None,
    oidc_issuer: str | None,
    oidc_subject: str | None,
) -> tuple[str, ...]:
    if (oidc_issuer is None) != (oidc_subject is None):
        raise click.UsageError("--oidc-issuer and --oidc-subject go together")
    found = (
        None if public_key is None else _of_key(public_key),
        None if spiffe_id is None else _of_spiffe_id(spiffe_id),
        None if dns_name is None else _of_dns_name(dns_name),
        None if oidc_issuer is None or oidc_subject is None else _of_token(oidc_issuer, oidc_subject),
    )
    if not any(found):
        raise click.UsageError(
            "expected a way to prove it: one or more of --public-key, --spiffe-id, --dns-name, --oidc-issuer"
        )
    return tuple(each for each in found if each is not None)


def _of_key(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text, re.ASCII):
        raise _wrong("--public-key", "64 digits of lower-case hexadecimal")
    try:
        check_public_key(bytes.fromhex(text))
    except EvidenceError as error:
        raise _wrong("--public-key", f"an Ed25519 public key: {error}") from None
    return ed25519_credential(bytes.fromhex(text))


def _of_spiffe_id(text: str) -> str:
    from ztsession.identity.x509_name import trust_domain_of

    try:
        trust_domain_of(text)
    except EvidenceError:
        raise _wrong("--spiffe-id", "spiffe://trust-domain/path") from None
    return text


def _of_dns_name(text: str) -> str:
    from ztsession.identity.x509_name import is_host_name

    if not is_host_name(text):
        raise _wrong("--dns-name", "one host's name, such as algo-7.firm.example")
    return f"dns:{text.lower()}"


def _of_token(issuer: str, named: str) -> str:
    if not is_issuer(issuer):
        raise _wrong("--oidc-issuer", "the issuer as in its tokens, https://...")
    if not is_subject(named):
        raise _wrong("--oidc-subject", f"1 to {SUBJECT_MAX_BYTES} printable ASCII characters")
    return oidc_credential(issuer, named)


def _wrong(option: str, expected: str) -> click.BadParameter:
    return click.BadParameter(f"expected {expected}", param_hint=option)


def _check_free(enrolled: Subject, file: Path) -> None:
    written = FileSubjects(file)
    if written.named(enrolled.name) is not None:
        raise ConfigurationError(f"names {enrolled.name}, and is right: change it there", file=str(file))
    for credential in enrolled.credentials:
        holder = written.holder(credential)
        if holder is not None:
            raise ConfigurationError(f"gives {credential!r} to {holder.name}", file=str(file))


def _has_factors(enrolments: Enrolments, name: str) -> bool:
    from ztsession.mfa.recovery import RecoveryRecord
    from ztsession.mfa.totp_factor import TotpRecord
    from ztsession.mfa.webauthn_factor import WebAuthnRecord

    # Asked first, so that the keys need not be opened for an algorithm.
    records = (TotpRecord, RecoveryRecord, WebAuthnRecord)
    return any(enrolments.get(each.kind, name) is not None for each in records)


def _line(subject: Subject, origin: str, every: AllSubjects) -> str:
    said = [subject.kind, *(f"role {role}" for role in subject.roles)]
    said += [f"desk {subject.desk}"] if subject.desk else []
    said += ["second factor demanded"] if subject.mfa else []
    # Programs enrol, too, and a token's subject can be any text: quoted, it forges no line on a terminal.
    said += [ascii(each) + _taken(each, subject, every) for each in subject.credentials]
    said += [] if every.named(subject.name) == subject else ["of no effect: the file says otherwise"]
    return f"{subject.name} ({origin}): {', '.join(said)}"


def _taken(credential: str, subject: Subject, every: AllSubjects) -> str:
    holder = every.holder(credential)
    return "" if holder is None or holder.name == subject.name else f" (the file gives it to {holder.name})"
