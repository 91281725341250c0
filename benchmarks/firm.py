"""An Authority with the example policy, and clients that connect to it, in this process."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import ztsession
from benchmarks.native import ROOT
from ztsession.client import Transport

if TYPE_CHECKING:
    from ztsession.authority.gate import Gate
    from ztsession.mfa.factors import Factors

__all__ = ["Enrolment", "Firm", "House", "measured"]

EXAMPLE = ROOT / "tests" / "policy" / "example"


@dataclass(frozen=True)
class Enrolment:
    """What one more way of connecting adds to the policy directory: text of its files, and files beside
    them.
    """

    subjects: str = ""
    devices: str = ""
    identity: str = ""
    mfa: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)


class House:
    """A policy directory with one Ed25519 subject and one device, and what ``enrolments`` add; a place for
    the state beside it. Both are gone with ``close``.
    """

    def __init__(self, enrolments: Sequence[Enrolment] = ()) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="ztsession-bench-")
        root = Path(self._directory.name)
        self.policy, self.state, self.address = root / "policy", root / "state", str(root / "authority.sock")
        shutil.copytree(EXAMPLE, self.policy)
        self.identity = ztsession.Ed25519Identity.generate("algo-7")
        device = ztsession.DevicePosture.generate("host-1")
        self.device = dataclasses.replace(device, measure=measured)
        subject = self.identity.registry_entry("algorithm", roles=("trading",), desk="rates")
        own = Enrolment(subject, self.device.registry_entry())
        for name, text in _texts([own, *enrolments]).items():
            (self.policy / name).write_text(text, encoding="utf-8")
        for enrolment in enrolments:
            for name, data in enrolment.files.items():
                (self.policy / name).write_bytes(data)

    def connect(self, transport: Transport, root: bytes, *scopes: str) -> ztsession.Session:
        """One full handshake with identity and signed posture; ``root``: the Authority's root key."""
        return ztsession.connect(
            transport, identity=self.identity, posture=self.device, root=root, scopes=scopes
        )

    def close(self) -> None:
        """Remove both directories."""
        self._directory.cleanup()


class Firm:
    """A house whose Authority runs in this process, with its real store and audit log."""

    def __init__(self, enrolments: Sequence[Enrolment] = (), *, gate: Gate | None = None) -> None:
        self._opened = ExitStack()
        with ExitStack() as opened:
            self.house = House(enrolments)
            opened.callback(self.house.close)
            self.identity, self.device = self.house.identity, self.house.device
            self.authority = opened.enter_context(
                ztsession.Authority.open(self.house.state, policy=self.house.policy, gate=gate)
            )
            self._opened = opened.pop_all()

    def connect(self, transport: Transport, *scopes: str) -> ztsession.Session:
        """One full handshake with identity and signed posture."""
        return self.house.connect(transport, self.authority.root, *scopes)

    @functools.cached_property
    def factors(self) -> Factors:
        """The second factors, as the operator at the desk enrols them: through a connection of their own."""
        from ztsession.mfa.factors import Factors
        from ztsession.mfa.settings import MfaSettings
        from ztsession.store.enrolments import SqliteEnrolments
        from ztsession.store.sqlite import SqliteStore

        store = self._opened.enter_context(SqliteStore(self.house.state / "authority.sqlite"))
        settings = MfaSettings.from_directory(self.house.policy)
        return Factors(SqliteEnrolments(store), self.authority.keys.sealing("mfa"), settings)

    def __enter__(self) -> Self:
        """The firm itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the Authority and remove its state."""
        self._opened.close()


@functools.cache
def measured() -> Mapping[str, str]:
    """This host's measurements, taken once: in earnest that happens on another machine, and would only empty
    this one's caches.
    """
    return ztsession.DevicePosture.generate("host-1").measure()


def _texts(enrolments: Sequence[Enrolment]) -> dict[str, str]:
    files = {f"{name}.toml": name for name in ("subjects", "devices", "identity", "mfa")}
    texts = {
        file: "\n".join(getattr(each, name) for each in enrolments if getattr(each, name))
        for file, name in files.items()
    }
    texts["devices.toml"] += "\n[posture]\n"
    return {file: text for file, text in texts.items() if text}
