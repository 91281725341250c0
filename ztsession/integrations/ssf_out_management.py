"""What a receiver may do with its stream, and what each step answers (SSF 1.0, section 8.1).

A receiver has one stream. Whatever it names that is not that stream does not exist: the answer is the same
for another's as for none, and nothing here ever looks for a stream by its identifier alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

from ztsession.authority.streams import VERIFICATION_INTERVAL_S, Stream, Streams
from ztsession.integrations import ssf_out_messages as messages
from ztsession.integrations.asgi_request import Answer, Problem
from ztsession.integrations.ssf_out_messages import Members
from ztsession.risk.ssf.outgoing_subjects import read_subject

__all__ = ["MEDIA_TYPE", "Management"]

MEDIA_TYPE: Final = "application/json"

#: What answers one method of one endpoint: the receiver, and the members of its query or body.
_Step = Callable[[str, Members], Answer]


class Management:
    """The steps, by endpoint and method. They wait for a disk, so they are for worker's threads.

    WireError: what is asked cannot be read, or may not be. StoreError or AuditError: it cannot be kept.
    """

    def __init__(self, streams: Streams, poll_url: Callable[[str], str]) -> None:
        """``poll_url``: where the stream of an identifier is polled."""
        self._streams, self._poll_url = streams, poll_url
        self.steps: Final[Mapping[str, Mapping[str, _Step]]] = MappingProxyType(
            {
                "stream": {
                    "POST": self._create,
                    "GET": self._read,
                    "PATCH": partial(self._change, replaces=False),
                    "PUT": partial(self._change, replaces=True),
                    "DELETE": self._delete,
                },
                "status": {"GET": self._status, "POST": self._set_status},
                "subjects/add": {"POST": self._add},
                "subjects/remove": {"POST": self._remove},
                "verification": {"POST": self._verify},
            }
        )

    # ---- The stream

    def _create(self, receiver: str, request: Members) -> Answer:
        wanted = messages.read_wanted(request)
        self._pace(receiver)
        stream = self._streams.create(receiver, wanted)
        if stream is None:
            raise Problem(409, "a receiver has one stream, and there is yours")
        return self._said(stream, status=201)

    def _read(self, receiver: str, request: Members) -> Answer:
        if "stream_id" in request:
            return self._said(self._named(receiver, request))
        stream = self._streams.of(receiver)
        return _json([] if stream is None else [self._configuration(stream)])

    def _change(self, receiver: str, request: Members, *, replaces: bool) -> Answer:
        stream = self._named(receiver, request)
        known = self._configuration(stream)
        wanted = messages.read_changed(request, stream, known, replaces=replaces)
        return self._said(self._streams.change(stream, wanted))

    def _delete(self, receiver: str, request: Members) -> Answer:
        stream = self._named(receiver, request)
        self._pace(receiver)
        self._streams.delete(stream)
        return _nothing(204)

    # ---- Its status

    def _status(self, receiver: str, request: Members) -> Answer:
        return _json(messages.status(self._named(receiver, request)))

    def _set_status(self, receiver: str, request: Members) -> Answer:
        stream, (status, reason) = self._named(receiver, request), messages.read_status(request)
        self._pace(receiver)
        self._streams.set_status(stream, status, reason)
        return _json(messages.status(self._named(receiver, request)))

    # ---- Its subjects, and verification

    def _add(self, receiver: str, request: Members) -> Answer:
        # Whether anybody of this name is known is not said (section 9.1).
        stream = self._named(receiver, request)
        self._streams.want_subject(stream, read_subject(request.get("subject")), wanted=True)
        return _nothing(200)

    def _remove(self, receiver: str, request: Members) -> Answer:
        stream = self._named(receiver, request)
        self._streams.want_subject(stream, read_subject(request.get("subject")), wanted=False)
        return _nothing(204)

    def _verify(self, receiver: str, request: Members) -> Answer:
        stream, state = self._named(receiver, request), messages.optional_text(request, "state")
        if not self._streams.verify(stream, state):
            wait = ("retry-after", str(VERIFICATION_INTERVAL_S))
            raise Problem(429, "a verification was asked for a moment ago", wait)
        return _nothing(204)

    # ---- Inside

    def _named(self, receiver: str, request: Members) -> Stream:
        stream = self._streams.get(receiver, messages.text(request, "stream_id"))
        if stream is None:
            raise Problem(404, "you have no such stream")
        return stream

    def _pace(self, receiver: str) -> None:
        if not self._streams.paced(receiver):
            raise Problem(429, "too many changes in a minute", ("retry-after", "60"))

    def _configuration(self, stream: Stream) -> Members:
        settings = self._streams.settings
        named = settings.receivers[stream.row.receiver]
        return messages.configuration(stream, named, settings.issuer, self._poll_url(stream.id))

    def _said(self, stream: Stream, *, status: int = 200) -> Answer:
        return _json(self._configuration(stream), status=status)


def _json(value: object, *, status: int = 200) -> Answer:
    return Answer(status, messages.encode(value), media_type=MEDIA_TYPE)


def _nothing(status: int) -> Answer:
    return Answer(status, b"", media_type=MEDIA_TYPE)
