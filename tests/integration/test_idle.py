# SPDX-License-Identifier: Apache-2.0
"""
A shard that was idle for so long that the broker has forgotten its producer (R23).
"""

from __future__ import annotations

import time

from connector.sandbox import Sandbox
from tests.integration.scene import MakeWorker, restarted, watched

EXPIRY_SECONDS = 2


def test_a_forgotten_producer_is_replaced(simulate, worker: MakeWorker) -> None:
    """
    After transactional.id.expiration.ms the next transaction fails; the shard begins again
    from what Kafka says, and what comes is written exactly once.
    """
    with (
        Sandbox(
            registry=False,
            properties={
                "transactional.id.expiration.ms": str(EXPIRY_SECONDS * 1000),
                "transaction.remove.expired.transaction.cleanup.interval.ms": "300",
                "producer.id.expiration.ms": str(EXPIRY_SECONDS * 1000),
                "producer.id.expiration.check.interval.ms": "300",
            },
        ) as sandbox,
        watched(
            sandbox,
            simulate("--only=stedi"),
            connector_sources="stedi",
            connector_schema_registry_url="none",
        ) as scene,
    ):
        one = worker(scene.environment).start().wait_ready()
        scene.simulator.offer("stedi", count=5)
        scene.wait_delivered()
        before = restarted(one)
        # Stedi's position is stored once a minute while nothing comes.
        time.sleep(EXPIRY_SECONDS * 2.5)
        scene.simulator.offer("stedi", count=5)
        scene.wait_delivered()
        assert restarted(one) > before
        assert one.stop() == 0
        scene.assert_exact()
