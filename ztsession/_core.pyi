from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, final

from typing_extensions import Buffer, disjoint_base

VERDICTS: Final[tuple[str, ...]]
MODES: Final[tuple[str, ...]]
LIMITS: Final[dict[str, int]]

def backends() -> tuple[str, ...]: ...
def hmac_sha256(key: Buffer, message: Buffer, *, backend: str | None = None) -> bytes: ...
def sha256(message: Buffer, *, backend: str | None = None) -> bytes: ...
def mac_pair_for_testing_only(
    key: bytes, first: bytes, second: bytes, *, backend: str | None = None
) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]: ...

@final
class Profile:
    digest: bytes
    def __init__(
        self,
        digest: bytes,
        *,
        allowed: Sequence[int],
        limits: Mapping[int, tuple[int, int]],
        step_up: int = 0,
        ordered: int = 0,
        epoch_length_us: int = ...,
    ) -> None: ...

@disjoint_base
class Table:
    records: dict[int, Any]
    operations: tuple[str, ...]
    def __new__(
        cls,
        *,
        operations: Sequence[str],
        capacity: int = 1,
        profiles: int = 1,
        window_words: int = ...,
        client: bool = False,
        manual_clock: bool = False,
        backend: str | None = None,
    ) -> Self: ...
    @property
    def capacity(self) -> int: ...
    @property
    def live(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def lease_deadline_us(self) -> int: ...
    def install(
        self,
        profile: Profile,
        segment_secret: bytes,
        nonce: bytes,
        record: object,
        *,
        lifetime_us: int,
        idle_s: int = ...,
        handle: int = 0,
        now_us: int | None = None,
    ) -> tuple[int, int]: ...
    def set_mode(self, handle: int, mode: str) -> bool: ...
    def end(self, handle: int, *, revoked: bool) -> bool: ...
    def narrow(self, digest: bytes, allowed: Sequence[int]) -> bool: ...
    def sweep(self, first: int = 0, count: int = ...) -> int: ...
    def session(self, handle: int) -> dict[str, Any] | None: ...
    def refused(self) -> dict[str, int]: ...
    def now_us(self) -> int: ...
    def set_lease(self, deadline_us: int | None) -> None: ...
    def fold_suspend(self) -> None: ...
    def set_manual_clock(self, machine_us: int) -> None: ...
    def snapshot_for_testing_only(self) -> bytes: ...
    def set_sent_for_testing_only(self, handle: int, sent: int) -> None: ...
