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

import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ztsession.authority.authority import Authority
from ztsession.authority.questions import OUTCOMES, AccessQuestion, Questions, Ruling
from ztsession.errors import ConfigurationError, WireError
from ztsession.integrations.asgi_door import Route
from ztsession.integrations.asgi_request import Answer, Problem, Request
from ztsession.integrations.authzen_messages import decision, encode, read_evaluation, read_evaluations
from ztsession.integrations.callers import Callers
from ztsession.integrations.workers import Workers

__all__ = ["AccessEvaluations"]

MEDIA_TYPE: Final = "application/json"
#: Of where the endpoints are.
METADATA_AGE_S: Final = 3600

_EVALUATION: Final = "/access/v1/evaluation"
_EVALUATIONS: Final = "/access/v1/evaluations"
_METADATA: Final = "/.well-known/authzen-configuration"

_JSON: Final = re.compile(r'application/json *(?:; *charset="?utf-8"?)?', re.ASCII | re.IGNORECASE)
#: What can do no harm in a header or a log.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}", re.ASCII)
_URL: Final = re.compile(r"https://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::[1-9][0-9]{0,4})?", re.ASCII)

#: How a question that could not be read is counted, beside the outcomes of those that could.
_MALFORMED: Final = "malformed"

_log = logging.getLogger("ztsession.authzen")


class AccessEvaluations:
    """Answers AuthZEN requests: a door of an :class:`AuthorityApp`, which closes it."""

    def __init__(
        self,
        authority: Authority,
        *,
        callers: Mapping[str, str],
        url: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``callers``: by name, the SHA-256 of each one's token in hexadecimal, see
        :func:`~ztsession.integrations.callers.new_caller_token`. ``url``: the address that callers reach this
        by, ``https://host[:port]``; without it no metadata are published. ``clock`` gives Unix seconds.
        """
        self._callers = Callers(callers)
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

    def finished(self, request: Request, answer: Answer) -> Answer:
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
        caller = self._callers.of(request)
        if caller is None:
            with self._counting:
                self._refused += 1
            # Anybody can cause this, as often as he likes.
            _log.debug("somebody without a caller's token was refused, from %r", request.source)
            raise Problem(401, "a caller's token is needed", ("www-authenticate", "Bearer"))
        _log.debug("%s asks, from %r", caller, request.source)

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
