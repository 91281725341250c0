"""The names of the Shared Signals Framework 1.0, CAEP 1.0 and RISC 1.0, in one place for both directions."""

from __future__ import annotations

from typing import Final

__all__ = [
    "CAEP",
    "CAEP_EVENTS",
    "POLL",
    "PUSH",
    "RISC",
    "RISC_EVENTS",
    "SET_MEDIA_TYPE",
    "SET_TYPE",
    "SPEC_VERSION",
    "STREAM_UPDATED",
    "VERIFICATION",
    "WELL_KNOWN",
]

CAEP: Final = "https://schemas.openid.net/secevent/caep/event-type/"
RISC: Final = "https://schemas.openid.net/secevent/risc/event-type/"
_SSF: Final = "https://schemas.openid.net/secevent/ssf/event-type/"

CAEP_EVENTS: Final = (
    "session-revoked",
    "token-claims-change",
    "credential-change",
    "assurance-level-change",
    "device-compliance-change",
    "session-established",
    "session-presented",
    "risk-level-change",
)
RISC_EVENTS: Final = (
    "account-disabled",
    "account-enabled",
    "account-purged",
    "credential-compromise",
    "sessions-revoked",
    "identifier-changed",
    "identifier-recycled",
    "account-credential-change-required",
)
#: The framework's own events, that a stream sends about itself.
VERIFICATION: Final = _SSF + "verification"
STREAM_UPDATED: Final = _SSF + "stream-updated"

#: How a stream delivers (RFC 8935, RFC 8936).
PUSH: Final = "urn:ietf:rfc:8935"
POLL: Final = "urn:ietf:rfc:8936"

#: RFC 8417, section 2.3; the media type is that with "application/" before it.
SET_TYPE: Final = "secevent+jwt"
SET_MEDIA_TYPE: Final = "application/secevent+jwt"
SPEC_VERSION: Final = "1_0"
#: Stands between the issuer's host and its path.
WELL_KNOWN: Final = "/.well-known/ssf-configuration"
