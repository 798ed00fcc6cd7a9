# SPDX-License-Identifier: Apache-2.0
"""
A broker that goes away and comes back, and one that is not there at the start.
"""

from __future__ import annotations

from tests.integration.accounts import now_ms
from tests.integration.checker import judge
from tests.integration.offered import AsOffered, ByEventTime, from_ledger
from tests.integration.seeing import read_all
from tests.integration.workers import settings

# What the worker may take to notice that the broker is back.
BACK_SECONDS = 60
# The longest that one walk over the events may take.
WALK_MS = 10_000


def test_broker_stopped_and_started_under_load(sandbox, simulate, worker, watch):
    """
    A worker that loses its broker is not ready, ends nothing and forgets nothing; one that
    starts meanwhile waits. Both go on when it is back, exactly once.
    """
    began_ms = now_ms()
    simulators, environments, workers, wanted = [], [], [], []
    for _ in range(2):
        simulator = simulate()
        simulator.configure("stedi", hold_back=0.3)
        for name in ("monetago", "stedi"):
            simulator.offer(name, count=300, event_time=now_ms() - 3_600_000, spread=3000)
            simulator.generate(name, rate=20)
        environment = settings(
            sandbox,
            simulator.env(),
            monetago_poll_interval="200ms",
            stedi_poll_interval="200ms",
            connector_kafka_session_timeout_ms="6000",
        )
        simulators.append(simulator)
        environments.append(environment)
        workers.append(worker(environment))
    topics = [
        f"{environment['CONNECTOR_TOPIC_PREFIX']}{topic}"
        for environment in environments
        for topic in ("monetago.activity", "stedi.transactions")
    ]
    reader = watch(*topics)
    first, second = workers
    first.start().wait_ready()
    reader.wait_for(lambda seen: len(seen) >= 700, 60)

    sandbox.kafka.stop()
    try:
        second.start()
        first.wait_until(lambda w: not w.ready(), 30, "it says that it is not ready")
        second.wait_until(lambda w: w.get("/ready")[0] == 503, 30, "it says that it waits")
        assert second.wait_until(lambda w: w.events("start_waits"), 30, "it logs why")
        assert first.live()
        assert second.live()
        # Providers are polled no further than memory allows, and nothing ends.
        assert (None, None) == (first.exit_code, second.exit_code)
    finally:
        sandbox.kafka.start()
    for one in workers:
        one.wait_ready(BACK_SECONDS)
        assert one.live()

    for simulator in simulators:
        for name in ("monetago", "stedi"):
            simulator.quiet(name)
            wanted += [line["id"] for line in simulator.ledger(name, body=False)]
    reader.wait_for(lambda seen: set(wanted) <= {each.id for each in seen}, BACK_SECONDS)
    for one in workers:
        assert one.stop() == 0
    seen, late = reader.stop(), read_all(sandbox.bootstrap_servers, *topics)
    for number, topic in enumerate(topics):
        name = topic.split(".")[1]
        verdict = judge(
            from_ledger(simulators[number // 2].ledger(name)),
            [each for each in late if each.topic == topic],
            topic=topic,
            running=[each for each in seen if each.topic == topic],
            order=ByEventTime(began_ms, WALK_MS) if name == "monetago" else AsOffered(),
        )
        assert verdict.delivered > 300
        assert verdict.ok, verdict
