"""The demo's roles in one process, as the director would lead them, without its processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ztsession.demo.algorithm_role import AlgorithmRole
from ztsession.demo.authority_role import AuthorityRole
from ztsession.demo.control import Control
from ztsession.demo.device_management_role import DeviceManagementRole
from ztsession.demo.gateway_role import GatewayRole
from ztsession.demo.market_data_role import MarketDataRole
from ztsession.demo.staging import Stage
from ztsession.integrations.stream import SocketTransport

HOST = "trading-host-1"


class Quiet(Control):
    """A channel to nobody."""

    def __init__(self) -> None:
        pass

    def progress(self, **what: object) -> None:
        pass


class Desk:
    """Authority, gateway, market data, device management and algorithm; the algorithm is connected."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.stage, self.authority = Stage(directory), AuthorityRole()
        self.gateway, self.market_data = GatewayRole(), MarketDataRole()
        self.management, self.algorithm = DeviceManagementRole(), AlgorithmRole(Quiet())
        self.market_data.load(None, 1, 200)
        self.stage.enrol(
            [self.algorithm.prepare()],
            sources=[self.gateway.prepare(), self.market_data.prepare()],
            management=self.management.prepare(),
        )
        opened: dict[str, Any] = self.authority.open(str(self.stage.state), str(self.stage.policy))
        self.url = opened["events"]
        self.management.subscribe(self.url)
        self.orders = self._service(self.gateway, "orders", opened)
        self.data = self._service(self.market_data, "market-data", opened)
        where = {"authority": opened["address"], "gateway": self.orders, "root": opened["root"]}
        self.algorithm.connect(market_data=self.data, **where)

    def _service(self, role: Any, segment: str, opened: dict[str, Any]) -> list[Any]:
        address: list[Any] = role.open(**self.stage.watched_service(segment, opened))["address"]
        return address

    def modes(self, subject: str = "algo-1") -> list[object]:
        """Of the subject's live sessions."""
        return [mode for _, _, mode in self.authority.standing(subject)]

    def close(self) -> None:
        for role in (self.gateway, self.market_data, self.management, self.authority):
            role.close()


@contextmanager
def desk_in(directory: Path) -> Iterator[Desk]:
    """A desk that leaves nothing open, also not what ends with a process elsewhere."""
    opened: list[SocketTransport] = []
    connect = SocketTransport.connect

    def noted(*arguments: Any, **more: Any) -> SocketTransport:
        opened.append(connect(*arguments, **more))
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SocketTransport, "connect", noted)
        desk = Desk(directory)
        yield desk
        desk.close()
    for transport in opened:
        transport.close()
