"""How a command fails: one sentence on standard error, and status 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from ztsession.errors import ZtsError

__all__ = ["telling"]


@contextmanager
def telling() -> Iterator[None]:
    """Turn the library's errors into click's, which say what is wrong without a traceback."""
    try:
        yield
    except ZtsError as error:
        raise click.ClickException(str(error)) from None
