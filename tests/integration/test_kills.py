# SPDX-License-Identifier: Apache-2.0
"""
A worker that is killed at any instruction loses and repeats nothing (invariant 10).
"""

from __future__ import annotations

import os
import random
import sys
import time

from connector.sandbox import Sandbox
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.scene import MakeWorker, watched

KILLS = 20


def test_twenty_kills_at_random_moments(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker
) -> None:
    """
    Kill -9 after kill -9 while events keep coming: each is written exactly once, in order,
    the numbers have no gap, and the stored offset is that of the newest record.
    """
    seed = int(os.environ.get("TEST_SEED", random.randrange(1_000_000)))
    sys.stdout.write(f"TEST_SEED={seed}\n")
    draw = random.Random(seed)
    with watched(sandbox, simulator, connector_kafka_session_timeout_ms="1000") as scene:
        scene.come(rate=60.0)
        one = worker(scene.environment).start()
        for kill in range(KILLS):
            if kill % 5:
                # Most find it at work, between any two steps of its transactions.
                one.wait_until(lambda w: w.events("transaction_committed"), 60.0, "commits")
                time.sleep(draw.uniform(0.0, 1.0))
            else:
                # The others before that: while it starts, joins, fences or reads.
                time.sleep(draw.uniform(0.0, 2.5))
            one.kill()
            one.start()
        one.wait_until(lambda w: w.events("transaction_committed"), 60.0, "commits")
        scene.quiet()
        scene.wait_delivered()
        assert one.stop() == 0
        scene.assert_exact()
