# SPDX-License-Identifier: Apache-2.0
"""
All simulated providers behind one port of the loopback interface.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from random import Random
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from connector.sandbox.simulators.control import Control
from connector.sandbox.simulators.damage import Handler
from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.monetago import MonetagoOptions, MonetagoSimulator
from connector.sandbox.simulators.simulator import Simulator
from connector.sandbox.simulators.stedi import StediOptions, StediSimulator

_HOST = "127.0.0.1"

# One entry here registers a simulated provider.
SIMULATORS: Final[tuple[type[Simulator], ...]] = (MonetagoSimulator, StediSimulator)


class Simulators:
    """
    The simulated providers, served while the context is entered.

    Args:
        port: The port to listen on; 0 takes a free one.
        seed: Where all chance begins: ids, variants, faults with a probability.
        monetago: The switches of MonetaGo.
        stedi: The switches of Stedi.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        seed: int = 1,
        monetago: MonetagoOptions | None = None,
        stedi: StediOptions | None = None,
    ) -> None:
        random = Random(seed)
        self.monetago = MonetagoSimulator(Random(random.random()), monetago)
        self.stedi = StediSimulator(Random(random.random()), stedi)
        set_up: Mapping[str, Simulator] = {"monetago": self.monetago, "stedi": self.stedi}
        self.providers: Mapping[str, Simulator] = {
            kind.name: set_up.get(kind.name) or kind(Random(random.random())) for kind in SIMULATORS
        }
        self._control = Control(self.providers)
        self._wanted_port = port
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """
        Give the origin, such as ``http://127.0.0.1:40123``.
        """
        return f"http://{_HOST}:{self._port}"

    def env(self) -> dict[str, str]:
        """
        Give the connector's variables for all providers, all but ``…_START``.
        """
        return {
            name: value
            for simulator in self.providers.values()
            for name, value in simulator.env(self.url).items()
        }

    async def generate(self, name: str, rhythm: Rhythm) -> None:
        """
        Let events come at one provider, in place of how they came before.
        """
        await self._control.generate(name, rhythm)

    async def quiet(self, name: str) -> None:
        """
        Let no more events come at one provider.
        """
        await self._control.quiet(name)

    async def start(self) -> None:
        """
        Listen. ``url`` and ``env`` are good from here on.

        Raises:
            OSError: The port is taken.
        """
        app = web.Application(middlewares=[self._answer], client_max_size=64 * 1024 * 1024)
        app.add_routes(self._control.routes())
        for simulator in self.providers.values():
            app.add_routes(simulator.routes())
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await self._runner.setup()
        listener = socket.create_server((_HOST, self._wanted_port), backlog=1024)
        self._port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """
        Stop the generators and close every connection.
        """
        await self._control.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        """
        Start.
        """
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Stop.
        """
        await self.stop()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """
        Lead a request through the provider whose path it is.
        """
        simulator = self._owner(request)
        return await (handler(request) if simulator is None else simulator.answer(request, handler))

    def _owner(self, request: web.Request) -> Simulator | None:
        """
        Find the provider of a path; None is the control, and what nobody knows.
        """
        for simulator in self.providers.values():
            if request.path.startswith(simulator.prefixes):
                return simulator
        return None
