# SPDX-License-Identifier: Apache-2.0
"""
Many simulated providers at once, in one thread of the test's own process.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Self

from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.monetago import MonetagoOptions
from connector.sandbox.simulators.runner import SimulatorThread
from connector.sandbox.simulators.server import Simulators
from connector.sandbox.simulators.stedi import StediOptions
from tests.integration.offered import Offered, from_ledger


class Farm:
    """
    Serves simulators of different variants, each on a port of its own.
    """

    def __init__(self) -> None:
        self._first = Simulators()
        self._thread = SimulatorThread(self._first)
        self._more: list[Simulators] = []

    def add(
        self,
        *,
        monetago: MonetagoOptions | None = None,
        stedi: StediOptions | None = None,
        seed: int = 1,
    ) -> Simulators:
        """
        Serve one more.
        """
        simulators = Simulators(seed=seed, monetago=monetago, stedi=stedi)
        self._more.append(simulators)
        self._thread.run(simulators.start())
        return simulators

    def generate(self, simulators: Simulators, name: str, rhythm: Rhythm) -> None:
        """
        Let events come at one provider.
        """
        self._thread.run(simulators.generate(name, rhythm))

    def quiet(self) -> None:
        """
        Let no events come any more, anywhere.
        """
        for simulators in self._more:
            for name in simulators.providers:
                self._thread.run(simulators.quiet(name))

    def __enter__(self) -> Self:
        """
        Start the thread.
        """
        self._thread.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """
        Stop everything.
        """
        for simulators in self._more:
            self._thread.run(simulators.stop())
        self._thread.__exit__(kind, error, trace)


def offered_by(simulators: Simulators, name: str) -> list[Offered]:
    """
    Read a ledger for the checker.
    """
    events = simulators.providers[name].ledger.events()
    return from_ledger(json.loads(event.line(body=True)) for event in events)
