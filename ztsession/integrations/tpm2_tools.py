"""A host's TPM through tpm2-tools: it makes an attestation key, activates it, and quotes.

The programs of tpm2-tools are what operators have and audit, so they are run instead of being bound to: from
a list of arguments, never through a shell, with a time limit, in a directory that nobody else can read. What
goes wrong here is a matter of the host's set-up, so each error is a ConfigurationError that says what to try.

    posture = TpmPosture("host-1", ak="0x81010002")
    session = connect(transport, identity=..., posture=posture, ...)
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeVar

from ztsession.errors import ConfigurationError, WireError
from ztsession.posture.collector import collect
from ztsession.posture.event_log import LOG_MAX_BYTES, EventLog, replay
from ztsession.posture.statement import PostureStatement
from ztsession.posture.tpm import EVENTS_MAX, TpmEvidence, qualifying_data
from ztsession.posture.tpm_enrolment import EnrolmentRequest
from ztsession.posture.tpm_structures import PCRS, Algorithm, Public, Signature
from ztsession.wire.names import is_name

__all__ = ["AK_HANDLE", "EVENT_LOG_PATH", "Tpm2Tools", "TpmPosture"]

#: Where the attestation key is kept by default: a persistent handle of the owner's.
AK_HANDLE = "0x81010002"
#: Where Linux shows the firmware's event log; readable by root alone.
EVENT_LOG_PATH = Path("/sys/kernel/security/tpm0/binary_bios_measurements")

#: Where a PC client's TPM keeps its maker's certificates (TCG EK Credential Profile, 2.2.1.4).
_CERTIFICATE_INDEX = {"rsa": "0x01c00002", "ecc": "0x01c0000a"}
_SCHEMES = {Algorithm.ECDSA: "ecdsa", Algorithm.RSASSA: "rsassa", Algorithm.RSAPSS: "rsapss"}
_BOOT = tuple(range(8))
_REACH = "is there a TPM, and may this user open it (group tss)? Another one is named by tcti"

_Read = TypeVar("_Read")
KeyKind = Literal["ecc", "rsa"]


@dataclass(frozen=True)
class TpmPosture:
    """Measures this host, and has its TPM quote the boot registers over that, anew for each handshake.

    ``ak``: the persistent handle, or the context file, of the enrolled attestation key. ``pcrs``: which
    registers, ascending. ``tcti``: how to reach the TPM, as for tpm2-tools. ``event_log_path``: the
    firmware's log to send along, such as :data:`EVENT_LOG_PATH`.
    """

    device: str
    ak: str = field(default=AK_HANDLE, kw_only=True)
    pcrs: Sequence[int] = field(default=_BOOT, kw_only=True)
    tcti: str | None = field(default=None, kw_only=True)
    measure: Callable[[], Mapping[str, str]] = field(default=collect, kw_only=True, repr=False)
    event_log_path: str | os.PathLike[str] | None = field(default=None, kw_only=True)
    clock: Callable[[], float] = field(default=time.time, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        ascending = sorted({pcr for pcr in self.pcrs if 0 <= pcr < PCRS})
        if not ascending or list(self.pcrs) != ascending:
            raise ConfigurationError(f"pcrs: expected some of 0 to {PCRS - 1}, ascending")

    def prove(self, binding: bytes, nonce: bytes) -> bytes:
        """Measure now, and return evidence for this binding and nonce (32 bytes each).

        ConfigurationError when the TPM cannot be used, or the event log does not fit what it quotes.
        """
        statement = PostureStatement(self.device, int(self.clock()), nonce, dict(self.measure())).to_bytes()
        qualifying = qualifying_data(binding, nonce, statement)
        attest, signature, values = self._tools.quote(self.ak, self._scheme, self.pcrs, qualifying)
        pcrs = [[pcr, value] for pcr, value in zip(self.pcrs, values, strict=True)]
        events = self._events(dict(zip(self.pcrs, values, strict=True)))
        return TpmEvidence(self.device, statement, attest, signature, pcrs, events).to_bytes()

    @cached_property
    def _tools(self) -> Tpm2Tools:
        return Tpm2Tools(self.tcti)

    @cached_property
    def _scheme(self) -> str:
        scheme = _SCHEMES.get(self._tools.public(self.ak).scheme)
        if scheme is None:
            raise ConfigurationError(f"{self.ak} is no attestation key: it may sign by any scheme")
        return scheme

    def _events(self, values: Mapping[int, bytes]) -> list[list[object]]:
        if self.event_log_path is None:
            return []
        where = os.fspath(self.event_log_path)
        try:
            with open(where, "rb") as source:
                events = EventLog.read(source.read(LOG_MAX_BYTES + 1)).replayable(values)
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", file=where) from None
        except WireError as error:
            raise ConfigurationError(str(error), file=where) from None
        if len(events) > EVENTS_MAX:
            raise ConfigurationError(
                f"{len(events)} events, at most {EVENTS_MAX}: quote fewer registers", file=where
            )
        for pcr, value in replay(events).items():
            if value != values[pcr]:
                raise ConfigurationError(
                    f"does not replay to PCR {pcr}: quote without it, or without the log", file=where
                )
        return [[pcr, event] for pcr, event in events]


@dataclass(frozen=True)
class Tpm2Tools:
    """The programs, and the TPM that they speak to. ``tcti``: as TPM2TOOLS_TCTI; None for the usual one."""

    tcti: str | None = None
    timeout_s: float = 60.0

    def create_ak(self, device: str, ak: str = AK_HANDLE, *, kind: KeyKind = "ecc") -> EnrolmentRequest:
        """Make an attestation key under the TPM's endorsement key, and return what enrols it.

        ``ak``: a free persistent handle, or a new context file, which is good until the next boot.
        """
        if not is_name(device):
            # Before there is a key in the TPM that nobody could enrol.
            raise ConfigurationError("device: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        with _workplace() as at:
            self._run("createek", "-c", at / "ek.ctx", "-G", kind, "-u", at / "ek.pub", hint=_REACH)
            context = at / "ak.ctx" if _is_handle(ak) else Path(ak).absolute()
            scheme = "ecdsa" if kind == "ecc" else "rsassa"
            self._run(
                *("createak", "-C", at / "ek.ctx", "-c", context, "-G", kind, "-g", "sha256", "-s", scheme),
                *("-u", at / "ak.pub"),
                hint="does the endorsement hierarchy have a password?",
            )
            if _is_handle(ak):
                taken = f"if {ak} is taken, choose another handle, or free it: tpm2_evictcontrol -C o -c {ak}"
                self._run("evictcontrol", "-C", "o", "-c", context, ak, hint=taken)
            ek_public, ak_public = (at / "ek.pub").read_bytes(), (at / "ak.pub").read_bytes()
            return EnrolmentRequest(device, ek_public, ak_public, self._certificate(kind, at))

    def activate(self, ak: str, credential: bytes) -> bytes:
        """Return the secret of an Authority's challenge: it is readable here alone, and with this key.

        ``credential``: what :func:`~ztsession.posture.tpm_enrolment.begin` made, from the Authority.
        """
        kind: KeyKind = "ecc" if self.public(ak).scheme == Algorithm.ECDSA else "rsa"
        with _workplace() as at:
            (at / "credential").write_bytes(credential)
            self._run("createek", "-c", at / "ek.ctx", "-G", kind, "-u", at / "ek.pub", hint=_REACH)
            self._run("startauthsession", "--policy-session", "-S", at / "session", hint=_REACH)
            try:
                needs = "does the endorsement hierarchy have a password?"
                self._run("policysecret", "-S", at / "session", "-c", "e", hint=needs)
                self._run(
                    *("activatecredential", "-c", ak, "-C", at / "ek.ctx", "-i", at / "credential"),
                    *("-o", at / "secret", "-P", f"session:{at / 'session'}"),
                    hint="the challenge was made for another TPM or another key; make a new request",
                )
            finally:
                self._forget(at / "session")
            return (at / "secret").read_bytes()

    def quote(
        self, ak: str, scheme: str, pcrs: Sequence[int], qualifying: bytes
    ) -> tuple[bytes, bytes, list[bytes]]:
        """Return TPMS_ATTEST, TPMT_SIGNATURE and the value of each register (SHA-256 bank)."""
        selection = "sha256:" + ",".join(map(str, pcrs))
        with _workplace() as at:
            self._run(
                *("quote", "-c", ak, "-l", selection, "-q", qualifying.hex(), "-g", "sha256"),
                *("--scheme", scheme, "-m", at / "attest", "-s", at / "signature", "-f", "tss"),
                *("-o", at / "values", "-F", "values"),
                hint="is the attestation key there (ztsession device tpm-key), and the SHA-256 bank active?",
            )
            values = (at / "values").read_bytes()
            signature = _understood(Signature.padded, (at / "signature").read_bytes())
            split = [values[start : start + 32] for start in range(0, len(values), 32)]
            if len(values) != 32 * len(pcrs):
                raise ConfigurationError(
                    "the TPM has not all of these registers: is the SHA-256 bank active?"
                )
            return (at / "attest").read_bytes(), signature, split

    def public(self, ak: str) -> Public:
        """Return the public part of a key, by handle or context file."""
        with _workplace() as at:
            hint = f"make the attestation key first (ztsession device tpm-key); otherwise: {_REACH}"
            self._run("readpublic", "-c", ak, "-o", at / "public", hint=hint)
            return _understood(Public.read, (at / "public").read_bytes())

    def _certificate(self, kind: KeyKind, at: Path) -> bytes:
        # Many TPMs have none, and then the operator goes by the fingerprint.
        with suppress(ConfigurationError):
            self._run("nvread", _CERTIFICATE_INDEX[kind], "-o", at / "certificate", hint="")
            return _without_padding((at / "certificate").read_bytes())
        return b""

    def _run(self, tool: str, *arguments: str | Path, hint: str) -> None:
        try:
            self._execute(tool, *arguments, hint=hint)
        finally:
            # Without a resource manager, what was loaded would stay in one of the TPM's three places.
            self._forget("-t")

    def _forget(self, what: str | Path) -> None:
        with suppress(ConfigurationError):
            self._execute("flushcontext", what, hint="")

    def _execute(self, tool: str, *arguments: str | Path, hint: str) -> None:
        environment = dict(os.environ) if self.tcti is None else {**os.environ, "TPM2TOOLS_TCTI": self.tcti}
        command = [f"tpm2_{tool}", *map(str, arguments)]
        try:
            ran = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=self.timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise ConfigurationError(f"{command[0]} was not found: install tpm2-tools") from None
        except subprocess.TimeoutExpired:
            raise ConfigurationError(f"{command[0]} took over {self.timeout_s:.0f} s: {_REACH}") from None
        if ran.returncode:
            raise ConfigurationError(f"{command[0]} failed ({_complaint(ran.stderr)}): {hint}")


@contextmanager
def _workplace() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ztsession-tpm-") as made:
        yield Path(made)


def _understood(read: Callable[[bytes], _Read], data: bytes) -> _Read:
    try:
        return read(data)
    except WireError as error:
        raise ConfigurationError(f"expected a key of EC P-256 or RSA with SHA-256: {error}") from None


def _is_handle(ak: str) -> bool:
    return ak.lower().startswith("0x")


def _complaint(stderr: bytes) -> str:
    lines = [line for line in stderr.decode("utf-8", "replace").splitlines() if line.startswith("ERROR: ")]
    telling = [line for line in lines if "Unable to run" not in line] or lines or ["ERROR: no reason given"]
    return telling[-1].removeprefix("ERROR: ")[:200]


def _without_padding(certificate: bytes) -> bytes:
    # The place in the TPM may be larger than the DER in it, which begins with 30 82 and two bytes of length.
    if certificate[:2] != b"\x30\x82":
        return b""
    return certificate[: 4 + int.from_bytes(certificate[2:4], "big")]
