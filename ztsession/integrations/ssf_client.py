"""The receiver's side of stream management (SSF 1.0, sections 7 and 8): streams, subjects, verification.

    client = StreamClient.discover("https://firm.okta.example", Peer(bearer))
    stream = client.create(push_to="https://zts.firm.example/ssf/v1/events/okta", events=["session-revoked"])
    client.verify(stream["stream_id"], receiver, "okta")

What a transmitter answers is looked at before it is used: everything must be of the issuer that was asked,
because the keys, the names and the trust belong to that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from ztsession.errors import ConfigurationError, TransportError
from ztsession.identity.jwks_fetch import is_fetchable
from ztsession.integrations.ssf_http import Peer, members
from ztsession.risk.ssf.events import EVENTS
from ztsession.risk.ssf.names import POLL, PUSH, WELL_KNOWN
from ztsession.risk.ssf.receiver import SignalReceiver
from ztsession.risk.ssf.streams import STATUSES, StreamStatus

__all__ = ["StreamClient"]

STREAM_ID_MAX_BYTES: Final = 512
VERIFY_S: Final = 60.0

Stream = dict[str, Any]


class StreamClient:
    """Manages streams at one transmitter. Every method raises TransportError when it is not done as asked."""

    def __init__(self, issuer: str, metadata: Mapping[str, Any], peer: Peer) -> None:
        """``metadata`` as the transmitter publishes them (section 7.1), see :meth:`discover`."""
        if metadata.get("issuer") != issuer:
            raise TransportError("the transmitter's metadata are of another issuer")
        self._issuer, self._peer, self.metadata = issuer, peer, dict(metadata)

    @classmethod
    def discover(cls, issuer: str, peer: Peer) -> Self:
        """Ask for the metadata of an issuer, https://host[/path]."""
        # What is asked in the open needs no token: it is for who is named in the answer.
        asked = Peer(trust=peer.trust).ask("GET", _well_known(issuer))
        return cls(issuer, members(asked, "the transmitter's metadata"), peer)

    # ---- Streams

    def create(
        self,
        *,
        push_to: str = "",
        authorization: str = "",
        events: Iterable[str] = EVENTS,
        description: str = "",
    ) -> Stream:
        """Create a stream of these events (names, or URIs of other types); its configuration.

        ``push_to``: the address that it pushes to, with ``authorization`` as the header of that name; without
        it the stream is polled, at ``["delivery"]["endpoint_url"]``.
        """
        asked = {"delivery": _delivery(push_to, authorization), "events_requested": _uris(events)}
        if description:
            asked["description"] = description
        created = self._ask("POST", "configuration_endpoint", asked, expect=(201,))
        return self._stream(members(created, "the stream"))

    def read(self, stream_id: str) -> Stream:
        """The configuration of one stream."""
        found = self._ask("GET", "configuration_endpoint", params={"stream_id": stream_id})
        return self._stream(members(found, "the stream"), stream_id)

    def update(self, stream_id: str, **changed: Any) -> Stream:
        """Change some of what the receiver says of a stream, such as ``events_requested``; all of it."""
        asked = {**changed, "stream_id": stream_id}
        return self._stream(members(self._ask("PATCH", "configuration_endpoint", asked), "it"), stream_id)

    def replace(self, stream_id: str, **settings: Any) -> Stream:
        """Say anew all that the receiver says of a stream: what is left out is deleted; all of it after."""
        asked = {**settings, "stream_id": stream_id}
        return self._stream(members(self._ask("PUT", "configuration_endpoint", asked), "it"), stream_id)

    def delete(self, stream_id: str) -> None:
        """Delete a stream."""
        self._ask("DELETE", "configuration_endpoint", params={"stream_id": stream_id}, expect=(204,))

    # ---- Their status

    def status(self, stream_id: str) -> StreamStatus:
        """Whether a stream sends."""
        return _status(self._ask("GET", "status_endpoint", params={"stream_id": stream_id}), stream_id)

    def set_status(self, stream_id: str, status: str, reason: str = "") -> StreamStatus:
        """Have a stream "enabled", "paused" or "disabled"; its status after."""
        if status not in STATUSES:
            raise ConfigurationError(f"status: expected one of {', '.join(STATUSES)}")
        asked = {"stream_id": stream_id, "status": status, **({"reason": reason} if reason else {})}
        return _status(self._ask("POST", "status_endpoint", asked), stream_id)

    # ---- Their subjects

    def add_subject(self, stream_id: str, subject: Mapping[str, Any], *, verified: bool = True) -> None:
        """Ask for the events of a subject (an identifier as in RFC 9493); a transmitter need not say no."""
        asked = {"stream_id": stream_id, "subject": dict(subject), "verified": verified}
        self._ask("POST", "add_subject_endpoint", asked, expect=(200, 204))

    def remove_subject(self, stream_id: str, subject: Mapping[str, Any]) -> None:
        """Ask for them no more; some may still come."""
        asked = {"stream_id": stream_id, "subject": dict(subject)}
        self._ask("POST", "remove_subject_endpoint", asked, expect=(200, 204))

    # ---- Whether it works

    def verify(
        self, stream_id: str, receiver: SignalReceiver, name: str, *, timeout_s: float = VERIFY_S
    ) -> None:
        """Have a verification event sent, and wait until ``receiver`` has it from the transmitter ``name``
        of its settings, with the text that was made up for it; however it is delivered.
        """
        expected = receiver.streams.expect(name, stream_id)
        asked = {"stream_id": stream_id, "state": expected.state}
        self._ask("POST", "verification_endpoint", asked, expect=(204,))
        if not expected.wait(timeout_s):
            raise TransportError(f"no verification event came within {timeout_s} s")

    def _ask(
        self,
        method: str,
        endpoint: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> bytes:
        url = self.metadata.get(endpoint)
        if type(url) is not str or not is_fetchable(url):
            raise TransportError(f"the transmitter has no {endpoint}, or none over https")
        return self._peer.ask(method, url, body, params=params, expect=expect)

    def _stream(self, found: Stream, stream_id: str = "") -> Stream:
        given = found.get("stream_id")
        if type(given) is not str or not 1 <= len(given) <= STREAM_ID_MAX_BYTES:
            raise TransportError("the transmitter answered with a stream that has no id")
        if given != stream_id and stream_id:
            raise TransportError("the transmitter answered with another stream")
        if found.get("iss") != self._issuer:
            raise TransportError("the stream is of another issuer")
        if type(found.get("delivery")) is not dict:
            raise TransportError("the transmitter does not say how the stream delivers")
        return found


def _well_known(issuer: str) -> str:
    if not is_fetchable(issuer):
        raise ConfigurationError("issuer: expected https://host or https://host/path")
    parts = urlsplit(issuer)
    if parts.query or parts.fragment:
        raise ConfigurationError("issuer: expected neither a query nor a fragment")
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path.removesuffix('/')}"


def _delivery(push_to: str, authorization: str) -> dict[str, str]:
    if not push_to:
        return {"method": POLL}
    given = {"authorization_header": authorization} if authorization else {}
    return {"method": PUSH, "endpoint_url": push_to, **given}


def _uris(events: Iterable[str]) -> list[str]:
    return [EVENTS.get(each, each) for each in events]


def _status(answer: bytes, stream_id: str) -> StreamStatus:
    found = members(answer, "the stream's status")
    status, reason = found.get("status"), found.get("reason", "")
    if found.get("stream_id") != stream_id or status not in STATUSES or type(reason) is not str:
        raise TransportError("the transmitter answered with no status of this stream")
    return StreamStatus(stream_id, status, reason)
