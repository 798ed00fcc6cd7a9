# SPDX-License-Identifier: Apache-2.0
"""
The way in from outside: ledger, faults, events and options of each provider over HTTP.

For tests and tools whose simulators run in another process. It asks for no credentials:
the server listens on the loopback interface only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from connector.sandbox.simulators.faults import parse_faults
from connector.sandbox.simulators.generator import Generator, Rhythm
from connector.sandbox.simulators.monetago import MonetagoSimulator
from connector.sandbox.simulators.simulator import Offer, Simulator

_LINES_AT_ONCE = 1000


class Control:
    """
    The handlers of the paths that begin with ``/_``.

    Args:
        simulators: All providers, by name.
    """

    def __init__(self, simulators: Mapping[str, Simulator]) -> None:
        self._simulators = simulators
        self._generators: dict[str, Generator] = {}

    def routes(self) -> Sequence[web.RouteDef]:
        """
        Give the paths, each with the provider's name at its end.
        """
        return (
            web.get("/_ledger/{provider}", self._ledger),
            web.get("/_requests/{provider}", self._requests),
            web.get("/_faults/{provider}", _checked(self._faults)),
            web.post("/_faults/{provider}", _checked(self._add_faults)),
            web.delete("/_faults/{provider}", _checked(self._clear_faults)),
            web.post("/_events/{provider}", _checked(self._events)),
            web.post("/_options/{provider}", _checked(self._options)),
            web.post("/_generator/{provider}", _checked(self._generator)),
            web.delete("/_generator/{provider}", _checked(self._stop_generator)),
            web.delete("/_tokens/monetago", _checked(self._revoke)),
        )

    async def generate(self, name: str, rhythm: Rhythm) -> None:
        """
        Let events come at one provider, in place of how they came before.
        """
        await self.quiet(name)
        self._generators[name] = Generator(self._simulators[name], rhythm)

    async def quiet(self, name: str) -> None:
        """
        Let no more events come at one provider.
        """
        if (generator := self._generators.pop(name, None)) is not None:
            await generator.stop()

    async def close(self) -> None:
        """
        Stop all generators.
        """
        for name in list(self._generators):
            await self.quiet(name)

    def _named(self, request: web.Request) -> Simulator:
        """
        Find the provider that a path names.
        """
        try:
            return self._simulators[request.match_info["provider"]]
        except KeyError:
            raise web.HTTPNotFound(text="no such provider") from None

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        """
        Give the ledger as lines of JSON; ``since=n`` and ``body=false`` make it shorter.
        """
        simulator = self._named(request)
        since = int(request.query.get("since", "0"))
        body = request.query.get("body") != "false"
        lines = list(simulator.ledger.events(since))
        stream = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await stream.prepare(request)
        for start in range(0, len(lines), _LINES_AT_ONCE):
            chunk = lines[start : start + _LINES_AT_ONCE]
            await stream.write(b"".join([event.line(body=body) for event in chunk]))
        return stream

    async def _requests(self, request: web.Request) -> web.Response:
        """
        Give the request log: counts, the latest requests, the most at one time.
        """
        simulator = self._named(request)
        return web.json_response(
            {
                "counts": simulator.counts,
                "max_in_flight": simulator.max_in_flight,
                "recent": [asdict(one) for one in simulator.recent],
            }
        )

    async def _faults(self, request: web.Request) -> Any:
        """
        Give the armed faults and the hits so far.
        """
        faults = self._named(request).faults
        return {"armed": [fault.model_dump() for fault in faults.armed], "hits": faults.hits}

    async def _add_faults(self, request: web.Request) -> Any:
        """
        Arm one fault or a list of them.
        """
        self._named(request).faults.add(*parse_faults(await request.json()))
        return await self._faults(request)

    async def _clear_faults(self, request: web.Request) -> Any:
        """
        Disarm all faults.
        """
        self._named(request).faults.clear()
        return await self._faults(request)

    async def _events(self, request: web.Request) -> Any:
        """
        Add the events of one offer or of a list of them.
        """
        simulator, wanted = self._named(request), await request.json()
        offers = [
            Offer.model_validate(o) for o in (wanted if isinstance(wanted, list) else [wanted])
        ]
        return [event.head() for offer in offers for event in simulator.offer(offer)]

    async def _options(self, request: web.Request) -> Any:
        """
        Switch options.
        """
        self._named(request).configure(await request.json())
        return {}

    async def _generator(self, request: web.Request) -> Any:
        """
        Let events come.
        """
        name = self._named(request).name
        await self.generate(name, Rhythm.model_validate(await request.json()))
        return {}

    async def _stop_generator(self, request: web.Request) -> Any:
        """
        Let no more events come.
        """
        await self.quiet(self._named(request).name)
        return {}

    async def _revoke(self, _request: web.Request) -> Any:
        """
        Let MonetaGo's tokens die.
        """
        for simulator in self._simulators.values():
            if isinstance(simulator, MonetagoSimulator):
                simulator.revoke_tokens()
        return {}


def _checked(
    handler: Callable[[web.Request], Awaitable[Any]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """
    Answer as JSON, and say 400 with the reason where what was sent does not fit.
    """

    async def answer(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except ValidationError as error:
            return web.Response(status=400, text=str(error))
        except ValueError:
            return web.Response(status=400, text="the body is not JSON")

    return answer
