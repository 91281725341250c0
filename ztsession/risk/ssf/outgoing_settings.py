"""The settings of ``[transmitter]`` in ``ssf.toml``: who may hear what happens here, and where it is sent.

    [transmitter]
    issuer = "https://zt.firm.example"       # the address that receivers reach this by, and the SETs' iss
    default_subjects = "ALL"                 # default, or "NONE": until a receiver names some

    [transmitter.receivers.siem]
    digest = "9f86d0..."                     # the SHA-256 of this receiver's bearer token
    audience = ["https://siem.firm.example"]       # the SETs' aud
    push_hosts = ["siem.firm.example:8443"]        # where SETs may be pushed to; none: it must poll
    events = ["session-revoked", "risk-level-change"]    # default: all

The address that SETs are pushed to is the receiver's word, and it is this process that calls there. So the
hosts are the operator's: whoever holds a receiver's token must not be able to make an Authority, which stands
where little else does, ask any address that he likes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ztsession.risk.ssf.names import CAEP
from ztsession.risk.ssf.outgoing import OUTGOING
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["SETTINGS_FILE", "Receiver", "TransmitterSettings"]

SETTINGS_FILE: Final = "ssf.toml"
RECEIVERS_MAX: Final = 64

_HOST: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_PORT: Final = r"(?::[1-9][0-9]{0,4})?"
_ISSUER: Final = re.compile(rf"https://{_HOST}{_PORT}(?:/[A-Za-z0-9._~-]+)*", re.ASCII)
_PUSH_HOST: Final = re.compile(rf"{_HOST}{_PORT}", re.ASCII)
_HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver. ``audience``: the SETs' aud; ``events``: URIs of those that it may hear of;
    ``push_hosts``: host:port, none if it must poll.
    """

    name: str
    digest: str = field(repr=False)
    audience: tuple[str, ...]
    events: tuple[str, ...]
    push_hosts: frozenset[str] = frozenset()

    def may_be_pushed_to(self, url: str) -> bool:
        """Whether this is an https address (or http on this machine) of a host that the operator listed."""
        from ztsession.identity.jwks_fetch import is_fetchable

        if not is_fetchable(url):
            return False
        parts = urlsplit(url)
        port = parts.port or (_HTTPS_PORT if parts.scheme == "https" else 80)
        return f"{parts.hostname}:{port}" in self.push_hosts


@dataclass(frozen=True, slots=True)
class TransmitterSettings:
    """What the operator said of the transmitter; ``receivers`` by name, at least one."""

    issuer: str
    receivers: Mapping[str, Receiver]
    all_subjects: bool = True

    @classmethod
    def from_directory(cls, directory: Path) -> TransmitterSettings | None:
        """Read ``ssf.toml``; None if there is none, or no ``[transmitter]`` in it. ConfigurationError names
        the line and what was expected.
        """
        path = directory / SETTINGS_FILE
        if not (path.exists() or path.is_symlink()):
            return None
        root = read_toml(path)
        # The other direction has a table of its own in the same file, and a reader of its own.
        root.allow_only("transmitter", "transmitters")
        return _settings(root.table("transmitter")) if root.has("transmitter") else None


def _settings(table: Table) -> TransmitterSettings:
    table.allow_only("issuer", "default_subjects", "receivers")
    issuer = table.text("issuer")
    if not _ISSUER.fullmatch(issuer):
        raise table.error("expected https://host[:port][/path] in lower case, no / at its end", "issuer")
    subjects = table.word("default_subjects", ("ALL", "NONE")) if table.has("default_subjects") else "ALL"
    listed = table.table("receivers")
    receivers = {name: _receiver(name, each) for name, each in listed.holders()}
    if not 1 <= len(receivers) <= RECEIVERS_MAX:
        raise table.error(f"expected 1 to {RECEIVERS_MAX} tables [transmitter.receivers.NAME]", "receivers")
    digests = [receiver.digest for receiver in receivers.values()]
    if len(set(digests)) < len(digests):
        # Whoever of the two calls, he would be taken for one of them.
        raise listed.error("expected a token of its own for each")
    return TransmitterSettings(issuer, receivers, subjects == "ALL")


def _receiver(name: str, table: Table) -> Receiver:
    table.allow_only("digest", "audience", "push_hosts", "events")
    audience = table.texts("audience")
    if not audience or not all(each.isascii() and each.isprintable() and each for each in audience):
        raise table.error("expected one text or more that name this receiver", "audience")
    return Receiver(
        name,
        table.octets("digest", 32).hex(),
        tuple(audience),
        tuple(CAEP + event for event in _events(table)),
        frozenset(_push_host(host, table) for host in table.texts("push_hosts")),
    )


def _events(table: Table) -> list[str]:
    events = table.texts("events") if table.has("events") else list(OUTGOING)
    if not events or not set(events) <= set(OUTGOING):
        raise table.error(f"expected some of {', '.join(OUTGOING)}", "events")
    return events


def _push_host(host: str, table: Table) -> str:
    if not _PUSH_HOST.fullmatch(host):
        raise table.error("expected host or host:port, in lower case", "push_hosts")
    return host if ":" in host else f"{host}:{_HTTPS_PORT}"
