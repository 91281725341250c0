from collections.abc import Mapping, Sequence
from typing import final

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
    def tightened(self, digest: bytes, allowed: Sequence[int], step_up: int = 0) -> Profile: ...

@final
class Installation:
    @property
    def session(self) -> bytes: ...
    @property
    def subject(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def assurance(self) -> int: ...
    @property
    def profile(self) -> bytes: ...
    def __init__(self, session: bytes, subject: str, device: str, assurance: int, profile: bytes) -> None: ...
