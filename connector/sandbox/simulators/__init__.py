# SPDX-License-Identifier: Apache-2.0
"""
Simulated providers: they follow the providers' pages, remember what they offered, and
misbehave on request.

``Simulators`` serves them in an event loop, ``SimulatorThread`` beside one,
``SimulatorProcess`` in a process of their own. ``Remote`` speaks to the last.
"""

from __future__ import annotations

from connector.sandbox.simulators.faults import Fault
from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.ledger import Event, Ledger
from connector.sandbox.simulators.monetago import MonetagoOptions
from connector.sandbox.simulators.runner import Remote, SimulatorProcess, SimulatorThread
from connector.sandbox.simulators.server import Simulators
from connector.sandbox.simulators.simulator import Offer
from connector.sandbox.simulators.stedi import StediOptions

__all__ = [
    "Event",
    "Fault",
    "Ledger",
    "MonetagoOptions",
    "Offer",
    "Remote",
    "Rhythm",
    "SimulatorProcess",
    "SimulatorThread",
    "Simulators",
    "StediOptions",
]
