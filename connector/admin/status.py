# SPDX-License-Identifier: Apache-2.0
"""
How a worker is, put together for probes and for people.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from connector import __version__
from connector.admin.metrics import Metrics
from connector.polling.status import FeedStatus
from connector.shard import Shard, Stage
from connector.worker import Worker

# The event loop answers these questions itself, so a hung loop answers none; this is for
# one that limps.
_LOOP_SILENCE_SECONDS = 30.0


class WorkerStatus:
    """
    Reads a worker; changes nothing.

    Args:
        worker: The worker.
        metrics: Its metrics.
    """

    def __init__(self, worker: Worker, metrics: Metrics) -> None:
        self.metrics = metrics
        self._worker = worker

    def alive(self, silence: float) -> bool:
        """
        True while the event loop and the group's thread make progress.
        """
        now, group = time.monotonic(), self._worker.group
        if now - self._worker.beat > _LOOP_SILENCE_SECONDS:
            return False
        return group is None or now - group.beat < silence

    def not_ready(self) -> list[str]:
        """
        Name what keeps this worker from being ready.

        A stopped source or a provider's outage is not among it, Kafka's and the
        registry's are: they would not be mended by another replica taking over.
        """
        worker = self._worker
        if worker.waiting_for is not None:
            return [f"start: {worker.waiting_for}"]
        group = worker.group
        if worker.runtime is None or group is None:
            return ["start: connecting"]
        reasons = [] if group.joined else ["group: not a member yet"]
        for number in sorted(group.assigned):
            shard = worker.shards.get(number)
            if shard is None or shard.stage is not Stage.RUNNING:
                reasons.append(f"shard {number}: {shard.stage.value if shard else 'not begun'}")
        # What this worker gave up is not its business any more.
        for number, names in sorted(worker.runtime.unknown.items()):
            if names and number in group.assigned:
                reasons.append(
                    f"shard {number}: offsets of sources that CONNECTOR_SOURCES does not name: "
                    f"{', '.join(names)}"
                )
        return reasons

    def status(self) -> dict[str, Any]:
        """
        Tell all there is, as JSON.
        """
        worker, runtime, group = self._worker, self._worker.runtime, self._worker.group
        feeds = [] if runtime is None else list(runtime.statuses.values())
        return {
            "name": worker.settings.name,
            "version": __version__,
            "ready": not self.not_ready(),
            "not_ready": self.not_ready(),
            "member": bool(group and group.joined),
            "shards_total": runtime.shards if runtime else None,
            "shards": [_shard(shard) for _, shard in sorted(worker.shards.items())],
            "feeds": [
                _feed(feed, worker.shards[feed.shard])
                for feed in feeds
                if feed.shard in worker.shards
            ],
        }


def _shard(shard: Shard) -> dict[str, Any]:
    session = shard.session
    state = session.state if session else None
    return {
        "shard": shard.number,
        "stage": shard.stage.value,
        "epoch": state.epoch if state else None,
        "source_partitions": state.source_partitions() if state else [],
        "error": shard.last_error,
    }


def _feed(feed: FeedStatus, shard: Shard) -> dict[str, Any]:
    told = {**asdict(feed), "state": feed.state.value}
    if shard.stage is not Stage.RUNNING:
        told["state"] = f"shard {shard.stage.value}"
    if told["error"] is None:
        # Until a commit succeeds again, a feed is not better off than its shard.
        told["error"] = shard.last_error
    return told
