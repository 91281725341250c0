"""SPIFFE's Workload API: certificates for workloads that hold no key files, and roots for an Authority.

    identity = WorkloadIdentity()                            # SPIFFE_ENDPOINT_SOCKET says where
    session = zts.connect(transport, identity=identity, ...)

The agent on the host attests the process behind the socket, hands it a key and a certificate of a few hours,
and changes both long before they end. So nothing is kept here: each proof asks for what is current. An agent
that does not answer means no proof, for it may be silent because this workload is to have none any more.

An Authority's roots stay files that its operator can look at. :func:`refresh_bundle` keeps such a file as
the Workload API has it; what is not a bundle of usable roots never takes the place of one that is.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from cryptography.hazmat.primitives.serialization import Encoding

from ztsession.errors import ConfigurationError, EvidenceError, TransportError
from ztsession.identity.chain import check_authority, untrusted
from ztsession.identity.x509 import X509Identity
from ztsession.identity.x509_name import is_trust_domain
from ztsession.identity.x509_signature import PrivateKey

try:
    from spiffe import TrustDomain, WorkloadApiClient, X509Svid
    from spiffe.errors import ArgumentError, PySpiffeError
except ModuleNotFoundError as missing:
    raise ImportError("the Workload API needs the extra ztsession[spiffe]") from missing

__all__ = ["TIMEOUT_S", "WorkloadIdentity", "refresh_bundle"]

#: The agent is on the same host: when it takes longer it does not answer.
TIMEOUT_S = 5.0


class WorkloadIdentity:
    """Proves the SPIFFE ID that the Workload API gives to this process. Thread-safe; ``close()`` it, or use
    it as a context manager.
    """

    def __init__(
        self,
        socket: str | None = None,
        *,
        spiffe_id: str | None = None,
        static_private: bytes | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Ask once, so that a mistake shows now.

        ``socket``: unix:///path, by default what SPIFFE_ENDPOINT_SOCKET says; ``spiffe_id``: which one, when
        the agent gives several, by default the first; ``static_private``: X25519, 32 bytes, fresh when None.
        ConfigurationError for a socket that is none or an ID that is not given, TransportError when the agent
        does not answer.
        """
        self._spiffe_id, self._timeout_s = spiffe_id, timeout_s
        self._static_private = os.urandom(32) if static_private is None else static_private
        self._client = _client(socket)
        try:
            self._subject = self._current().subject
        except BaseException:
            self._client.close()
            raise

    def __repr__(self) -> str:
        return f"WorkloadIdentity({self._subject!r})"

    @property
    def subject(self) -> str:
        """The SPIFFE ID of the last certificate that the agent gave."""
        return self._subject

    @property
    def static_private(self) -> bytes:
        """The X25519 private key of the handshake, 32 bytes; the same for as long as this object lives."""
        return self._static_private

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding`` with the certificate that is current.

        TransportError when the agent does not answer, ConfigurationError when what it gives is of no use.
        """
        identity = self._current()
        self._subject = identity.subject
        return identity.prove(binding)

    def close(self) -> None:
        """Close the connection to the agent; nothing can be proven afterwards."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _current(self) -> X509Identity:
        with _told():
            svid = self._chosen(self._client.fetch_x509_svids(timeout=self._timeout_s))
        chain = [one.public_bytes(Encoding.DER) for one in svid.cert_chain]
        # What kind of key it is, X509Identity sees by the certificate that it has to belong to.
        return X509Identity(chain, cast(PrivateKey, svid.private_key), static_private=self._static_private)

    def _chosen(self, svids: list[X509Svid]) -> X509Svid:
        for svid in svids:
            if self._spiffe_id is None or str(svid.spiffe_id) == self._spiffe_id:
                return svid
        raise ConfigurationError(f"the Workload API gives no certificate for {self._spiffe_id!r}")


def refresh_bundle(
    path: str | os.PathLike[str],
    trust_domain: str,
    *,
    socket: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> bool:
    """Make the PEM file at ``path`` the roots of ``trust_domain`` as the Workload API has them now.

    Returns whether that changed it: then ``Authority.reload()`` is due. The file is replaced as a whole, or
    stays as it was: on ConfigurationError (no such bundle, roots that cannot be used, a file that cannot be
    written) and on TransportError (the agent does not answer).
    """
    if not is_trust_domain(trust_domain):
        raise ConfigurationError("trust_domain: expected 1 to 255 characters from a-z 0-9 . _ -")
    data = _fetched(trust_domain, socket, timeout_s)
    target = Path(path)
    try:
        if target.exists() and target.read_bytes() == data:
            return False
        _replace(target, data)
    except OSError as error:
        raise ConfigurationError(f"cannot be written: {error.strerror}", file=str(target)) from None
    return True


def _client(socket: str | None) -> WorkloadApiClient:
    try:
        return WorkloadApiClient(socket)
    except ArgumentError as error:
        raise ConfigurationError(f"SPIFFE_ENDPOINT_SOCKET: {error}") from None


@contextmanager
def _told() -> Iterator[None]:
    """Say in our errors what the library says in its own."""
    try:
        yield
    except PySpiffeError as error:
        raise TransportError(f"the Workload API: {ascii(str(error))[:300]}") from None


def _fetched(trust_domain: str, socket: str | None, timeout_s: float) -> bytes:
    with _client(socket) as client, _told():
        bundles = client.fetch_x509_bundles(timeout=timeout_s)
        bundle = bundles.get_bundle_for_trust_domain(TrustDomain(trust_domain))
    authorities = [] if bundle is None else list(bundle.x509_authorities)
    if not authorities:
        raise ConfigurationError(f"the Workload API gives no roots of {trust_domain}")
    for certificate in authorities:
        try:
            with untrusted("it cannot be read"):
                check_authority(certificate)
        except EvidenceError as error:
            raise ConfigurationError(f"the Workload API gives an unusable root: {error}") from None
    # In one order, so that the same roots are the same file.
    return b"".join(sorted(certificate.public_bytes(Encoding.PEM) for certificate in authorities))


def _replace(target: Path, data: bytes) -> None:
    handle, fresh = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(data)
            os.fchmod(sink.fileno(), 0o644)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(fresh, target)
    except BaseException:
        os.unlink(fresh)
        raise
