"""Step-up and renewal with a real Authority over every transport: what goes on in a channel finds it."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import ztsession as zts
from ztsession.errors import HandshakeError, StepUpRequired, TransportError
from ztsession.integrations.aio import AsyncSocketTransport
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.http import AsyncHttpTransport, HttpTransport
from ztsession.limits import IDLE_S
from ztsession.mfa.prover import TotpProver
from ztsession.server.aio import serve

sys.path.append(str(Path(__file__).parents[1] / "authority"))

from test_going_on import Trader


class Clock:
    """Monotonic seconds that a test moves."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Desk:
    """A person with an authenticator app, the Authority and a point, all behind uvicorn."""

    def __init__(self, house: Any, opened: ExitStack, *, mfa: bool) -> None:
        self.trader, self.clock = Trader(house, mfa=mfa), Clock()
        self.authority = self.trader.authority
        self.point = house.point(self.authority)
        app = AuthorityApp(self.authority, {"orders": self.point}, clock=self.clock)
        listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = "http://{}:{}".format(*listening.getsockname())
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        opened.callback(thread.join)
        opened.callback(setattr, server, "should_exit", True)

    @property
    def who(self) -> dict[str, Any]:
        trader = self.trader
        device = zts.DevicePosture(
            "host-1", trader.house.device.signing_seed, measure=dict, clock=trader.clock
        )
        return {
            "identity": trader.identity,
            "posture": device,
            "root": self.authority.root,
            "scopes": ["orders.*"],
        }

    def submit(self, orders: zts.InstalledSession) -> str:
        return self.point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x").subject


@pytest.fixture
def desk(house: Any) -> Iterator[Callable[..., Desk]]:
    with ExitStack() as opened:
        yield lambda *, mfa: Desk(house, opened, mfa=mfa)


def test_a_person_steps_up_and_renews_over_http(desk: Any):
    """Handshake, a refused call, a code in the same conversation, a renewal in it, and another code."""
    here = desk(mfa=False)
    with (
        HttpTransport(here.url) as to_authority,
        HttpTransport(here.url, "installation", segment="orders") as to_point,
    ):
        session = zts.connect(to_authority, **here.who)
        with pytest.raises(zts.errors.StepUpRequired):
            here.submit(session.install(to_point, "orders"))
        session = session.step_up(mfa=here.trader.prover)
        assert here.submit(session.install(to_point, "orders")) == "trader-1"
        session = session.renew()
        assert here.submit(session.install(to_point, "orders")) == "trader-1"
        session = session.step_up(mfa=here.trader.prover)
        assert here.submit(session.install(to_point, "orders")) == "trader-1"
    assert [record.id for record in here.authority.sessions()] == [session.id]


def test_the_door_of_renewals_keeps_no_channel_and_the_transport_says_so(desk: Any):
    """A session that was renewed there is renewed again, steps up after a renewal at the handshakes' door,
    and authenticates anew over another transport.
    """
    here = desk(mfa=False)
    with HttpTransport(here.url) as to_authority, HttpTransport(here.url, "renewal") as renewals:
        session = zts.connect(to_authority, **here.who).renew(renewals)
        for attempt in (lambda: session.step_up(mfa=here.trader.prover), session.reauthenticate):
            with pytest.raises(TransportError, match="only for renewals"):
                attempt()
        session = session.renew()
        session = session.renew(to_authority)
        assert session.step_up(mfa=here.trader.prover).assurance == 2
        again = zts.connect(to_authority, **here.who).renew(renewals)
        assert again.reauthenticate(to_authority).assurance == 1


def test_after_a_long_silence_a_session_renews_first_and_then_steps_up(desk: Any):
    """HTTP forgets conversations: a step up says what to do, nothing is changed, and that helps."""
    here = desk(mfa=False)
    with HttpTransport(here.url) as to_authority:
        session = zts.connect(to_authority, **here.who)
        here.clock.ahead_s = IDLE_S + 1
        with pytest.raises(HandshakeError, match="renew the session first"):
            session.step_up(mfa=here.trader.prover)
        assert here.authority.session(session.id).assurance == 1
        assert session.renew().step_up(mfa=here.trader.prover).assurance == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("carrier", ["http", "sockets"])
async def test_a_person_whose_factor_is_demanded_in_an_event_loop(desk: Any, carrier: str):
    """The Authority asks in the first handshake; nothing is granted without a code, everything with one."""
    here = desk(mfa=True)
    async with await serve(here.authority.connection, ("127.0.0.1", 0)) as door:

        async def dial() -> Any:
            if carrier == "http":
                return AsyncHttpTransport(here.url)
            return await AsyncSocketTransport.connect(door.address)

        async with await dial() as first, await dial() as second:
            with pytest.raises(StepUpRequired, match="totp"):
                await zts.connect_async(first, **here.who)
            assert here.authority.sessions() == []
            session = await zts.connect_async(second, **here.who, mfa=here.trader.prover)
            session = await session.renew_async()
            session = await session.step_up_async(mfa=here.trader.prover)
            session = await session.reauthenticate_async()
            assert session.assurance == 2
        assert [record.id for record in here.authority.sessions()] == [session.id]


@pytest.mark.asyncio
@pytest.mark.parametrize("carrier", ["http", "sockets"])
async def test_H25_a_code_that_was_used_over_one_transport_is_used_up_over_all(desk: Any, carrier: str):
    """The second session that shows it is refused and stays as it was; the next code passes."""
    here = desk(mfa=False)
    async with await serve(here.authority.connection, ("127.0.0.1", 0)) as door:
        dialled = (
            AsyncHttpTransport(here.url)
            if carrier == "http"
            else await AsyncSocketTransport.connect(door.address)
        )
        async with dialled as transport:
            other = here.trader.connect()
            session = await zts.connect_async(transport, **here.who)
            code = here.trader.next_code()
            assert other.step_up(mfa=TotpProver(lambda: code)).assurance == 2
            with pytest.raises(HandshakeError, match="refused"):
                await session.step_up_async(mfa=TotpProver(lambda: code))
            assert here.authority.session(session.id).assurance == 1
            assert (await session.step_up_async(mfa=here.trader.prover)).assurance == 2
