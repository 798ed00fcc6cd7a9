# SPDX-License-Identifier: Apache-2.0
"""
A deep backlog: committed page by page, and gone on with inside a walk.
"""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.integration.accounts import now_ms
from tests.integration.checker import judge
from tests.integration.offered import ByEventTime, from_ledger
from tests.integration.seeing import read_all, read_offsets
from tests.integration.workers import settings

COUNT = 20_000
LIMIT = 500


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_killed_worker_goes_on_inside_the_backlog(sandbox, simulate, worker, order):
    """
    A worker is killed in the middle of 20,000 events: its successor asks for what is not
    committed and for nothing before it, and each event comes once, in order.
    """
    began_ms = now_ms()
    simulator = simulate(
        "--only=monetago", f"--backlog={COUNT}", "--span=80000", f"--set=monetago.order={order}"
    )
    simulator.configure("monetago", latency=0.05)
    environment = settings(
        sandbox,
        {name: v for name, v in simulator.env().items() if name.startswith("MONETAGO")},
        monetago_page_limit=str(LIMIT),
        connector_kafka_session_timeout_ms="3000",
    )
    prefix = environment["CONNECTOR_TOPIC_PREFIX"]
    topic = f"{prefix}monetago.activity"
    running = worker(environment).start()
    running.wait_until(
        lambda w: w.metric("connector_records_produced_total", topic=topic) >= COUNT / 4, 60
    )
    running.kill()
    asked_before = _pages_asked(simulator)
    committed = len(read_all(sandbox.bootstrap_servers, topic))
    assert COUNT / 4 <= committed < COUNT

    stored = read_offsets(sandbox.bootstrap_servers, f"{prefix}c.offsets")["monetago/activity"]
    running.start()
    running.wait_until(
        lambda w: w.metric("connector_records_produced_total", topic=topic) >= COUNT - committed,
        90,
    )
    again = _pages_asked(simulator)[len(asked_before) :]
    cursor = stored["offset"]
    walk = cursor["walk"]
    if order == "ascending":
        # Inside the walk that was under way: the same window, from its next row on.
        assert walk["rows"] == committed
        assert _milliseconds(again[0]["after"]) == walk["after"]
        assert again[0]["offset"] == str(committed)
    else:
        # At the window behind those that were committed whole.
        assert walk is None
        assert _milliseconds(again[0]["after"]) == cursor["after"]
        assert again[0].get("offset", "0") == "0"
        assert cursor["after"] > _milliseconds(asked_before[0]["after"])
    # Nothing that was committed is asked for again, but for the edges of windows.
    assert len(again) * LIMIT < COUNT - committed + 12 * LIMIT
    assert running.stop() == 0

    verdict = judge(
        from_ledger(simulator.ledger("monetago")),
        read_all(sandbox.bootstrap_servers, topic),
        topic=topic,
        order=ByEventTime(began_ms),
    )
    assert verdict.delivered == COUNT
    assert verdict.ok, verdict


def _milliseconds(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def _pages_asked(simulator):
    """
    List the queries for events, oldest first.
    """
    requests = simulator.requests("monetago")["recent"]
    return [request["query"] for request in requests if request["path"] == "/v1/activity"]
