"""The commands by name; each is in a file of its own."""

from __future__ import annotations

import click

from ztsession import __version__
from ztsession.cli.authority import authority
from ztsession.cli.demo import demo
from ztsession.cli.device import device
from ztsession.cli.keygen import keygen
from ztsession.cli.mfa import mfa
from ztsession.cli.policy import policy
from ztsession.cli.risk import risk
from ztsession.cli.subject import subject

__all__ = ["ztsession"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def ztsession() -> None:
    """Zero-trust continuous verification inside trading systems."""


for command in (authority, demo, device, keygen, mfa, policy, risk, subject):
    ztsession.add_command(command)
