"""OpenID AuthZEN's Authorization API 1.0 on the Authority's HTTP application, for tools of others.

    POST /access/v1/evaluation                  one question, one decision
    POST /access/v1/evaluations                 several at once, decided by one version of the rules
    GET  /.well-known/authzen-configuration     where these two are

An answer tells much: who is enrolled, and what policies look at. So nobody is answered who does not show the
token of a caller that the operator has named, and that is looked at before a byte of the body is read. Of a
token only the digest is kept here. What is asked is counted and not audited one by one, because whoever may
ask could fill the log.

The specification demands TLS underneath: it is the ASGI server's, or the proxy's.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from ztsession.authority.authority import Authority
from ztsession.authority.questions import OUTCOMES, AccessQuestion, Questions, Ruling
from ztsession.errors import ConfigurationError, WireError
from ztsession.integrations.asgi_request import Answer, Problem, Request
from ztsession.integrations.authzen_messages import decision, encode, read_evaluation, read_evaluations
from ztsession.integrations.workers import Workers
from ztsession.wire.names import is_name

__all__ = ["AccessEvaluations", "CallerToken", "new_caller_token"]

MEDIA_TYPE: Final = "application/json"
TOKEN_BYTES: Final = 32
#: Of where the endpoints are.
METADATA_AGE_S: Final = 3600

_EVALUATION: Final = "/access/v1/evaluation"
_EVALUATIONS: Final = "/access/v1/evaluations"
_METADATA: Final = "/.well-known/authzen-configuration"

#: RFC 6750, section 2.1. 32 bytes are 43 characters of base64 at least.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]{43,512}={0,2})", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_JSON: Final = re.compile(r'application/json *(?:; *charset="?utf-8"?)?', re.ASCII | re.IGNORECASE)
#: What can do no harm in a header or a log.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII)
_URL: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?", re.ASCII)

#: How a question that could not be read is counted, beside the outcomes of those that could.
_MALFORMED: Final = "malformed"

_log = logging.getLogger("ztsession.authzen")

Route = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class CallerToken:
    """A bearer token for one caller, who keeps it secret, and its digest, for :class:`AccessEvaluations`."""

    token: str = field(repr=False)
    digest: str


def new_caller_token() -> CallerToken:
    """Make a token of 32 random bytes."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return CallerToken(token, _digest(token).hex())


class AccessEvaluations:
    """Answers AuthZEN requests for an :class:`AuthorityApp`, which closes it."""

    def __init__(
        self,
        authority: Authority,
        *,
        callers: Mapping[str, str],
        url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``callers``: by name, the SHA-256 of each one's token in hexadecimal, see
        :func:`new_caller_token`. ``url``: the address that callers reach this by, ``https://host[:port]``;
        without it no metadata are published. ``clock`` gives Unix seconds.
        """
        self._callers = _checked_callers(callers)
        if url and not _URL.fullmatch(url):
            raise ConfigurationError("url: expected https://host or https://host:port, in lower case")
        self._url = url
        self._counting = threading.Lock()
        self._counts = Counter[str]()
        self._refused = 0
        self._questions = Questions(authority, clock=clock)

    @property
    def evaluations(self) -> dict[str, int]:
        """How many questions were answered, by outcome: "permitted", "step-up", "reauthenticate", "denied",
        "failed"; and "malformed" requests.
        """
        with self._counting:
            return {outcome: self._counts[outcome] for outcome in (*OUTCOMES, _MALFORMED)}

    @property
    def callers_refused(self) -> int:
        """How many requests came without the token of a caller."""
        return self._refused

    def close(self) -> None:
        """Answer no more."""
        self._questions.close()

    # ---- For the application

    def route(self, path: str) -> Route | None:
        """What answers requests for this path, None if they are not for here."""
        if path == _EVALUATION:
            return partial(self._evaluate, self._one)
        if path == _EVALUATIONS:
            return partial(self._evaluate, self._several)
        return self._metadata if path == _METADATA and self._url else None

    def identified(self, request: Request, answer: Answer) -> Answer:
        """The answer with the request's own identifier (X-Request-ID), if it is a harmless one."""
        named = request.headers.get("x-request-id", [])
        if self.route(request.path) is None or len(named) != 1 or not _REQUEST_ID.fullmatch(named[0]):
            return answer
        return replace(answer, headers=(*answer.headers, ("x-request-id", named[0])))

    # ---- HTTP

    async def _evaluate(self, judge: Callable[[bytes], bytes], request: Request, workers: Workers) -> Answer:
        if request.scope["method"] != "POST":
            raise Problem(405, "only POST", ("allow", "POST"))
        self._admit(request)
        if not _JSON.fullmatch(request.one("content-type") or ""):
            raise Problem(415, f"only {MEDIA_TYPE}")
        if request.headers.get("content-encoding"):
            # What a few bytes grow into is not bounded by their number.
            raise Problem(415, "only without a content-encoding")
        body = await request.body()
        try:
            answer = await workers.exchange(judge, body, request.source)
        except WireError as error:
            self._count(_MALFORMED)
            raise Problem(400, str(error)) from None
        return Answer(200, answer, media_type=MEDIA_TYPE)

    async def _metadata(self, request: Request, workers: Workers) -> Answer:
        if request.scope["method"] != "GET":
            raise Problem(405, "only GET", ("allow", "GET"))
        metadata = {
            "policy_decision_point": self._url,
            "access_evaluation_endpoint": self._url + _EVALUATION,
            "access_evaluations_endpoint": self._url + _EVALUATIONS,
        }
        age = ("cache-control", f"max-age={METADATA_AGE_S}")
        return Answer(200, encode(metadata), (age,), MEDIA_TYPE)

    def _admit(self, request: Request) -> None:
        caller = self._caller(_bearer_token(request))
        if caller is None:
            with self._counting:
                self._refused += 1
            # Anybody can cause this, as often as he likes.
            _log.debug("somebody without a caller's token was refused, from %r", request.source)
            raise Problem(401, "a caller's token is needed", ("www-authenticate", "Bearer"))
        _log.debug("%s asks, from %r", caller, request.source)

    def _caller(self, token: str) -> str | None:
        presented, found = _digest(token), None
        # All of them, each in constant time: how long it takes says nothing of any.
        for name, digest in self._callers.items():
            if hmac.compare_digest(digest, presented):
                found = name
        # No token is nobody's, also where an operator entered the digest of nothing.
        return found if token else None

    # ---- In a worker's thread

    def _one(self, body: bytes) -> bytes:
        return encode(self._decided(read_evaluation(body), self._questions.now()))

    def _several(self, body: bytes) -> bytes:
        asked, rule = read_evaluations(body), self._questions.now()
        if isinstance(asked, AccessQuestion):
            return encode(self._decided(asked, rule))
        decisions = list[dict[str, Any]]()
        for question in asked.questions:
            decisions.append(self._decided(question, rule))
            if decisions[-1]["decision"] is asked.ends_on:
                break
        return encode({"evaluations": decisions})

    def _decided(
        self, question: AccessQuestion | WireError, rule: Callable[[AccessQuestion], Ruling]
    ) -> dict[str, Any]:
        ruling = question if isinstance(question, WireError) else rule(question)
        self._count(_MALFORMED if isinstance(ruling, WireError) else ruling.outcome)
        return decision(ruling)

    def _count(self, outcome: str) -> None:
        with self._counting:
            self._counts[outcome] += 1


def _checked_callers(callers: Mapping[str, str]) -> dict[str, bytes]:
    if not callers:
        raise ConfigurationError("callers: expected at least one")
    for name, digest in callers.items():
        if not is_name(name):
            raise ConfigurationError(f"callers: expected names of A-Z a-z 0-9 . _ : / @ -, found {name!r}")
        if not _DIGEST.fullmatch(digest):
            # What stands there instead may be the token.
            raise ConfigurationError(f"callers: expected the SHA-256 of {name}'s token, 64 digits 0-9 a-f")
    if len(set(callers.values())) < len(callers):
        raise ConfigurationError("callers: expected a token of its own for each")
    return {name: bytes.fromhex(digest) for name, digest in callers.items()}


def _bearer_token(request: Request) -> str:
    """The token, "" for none: one header, one blank, and nothing around it."""
    given = request.headers.get("authorization", [])
    found = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    return found.group(1) if found else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
