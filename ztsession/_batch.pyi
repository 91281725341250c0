from typing import TypeVar, overload

from typing_extensions import Buffer

from ztsession._core import Table

_Out = TypeVar("_Out", bound=Buffer)

@overload
def verify_batch(
    table: Table,
    operation: str,
    tokens: Buffer,
    bodies: Buffer,
    offsets: Buffer | None = None,
    out: None = None,
) -> bytes: ...
@overload
def verify_batch(
    table: Table, operation: str, tokens: Buffer, bodies: Buffer, offsets: Buffer | None, out: _Out
) -> _Out: ...
def sign_batch(
    table: Table,
    handle: int,
    operation: str,
    bodies: Buffer,
    *,
    count: int | None = None,
    offsets: Buffer | None = None,
) -> bytes: ...
