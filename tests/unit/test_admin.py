# SPDX-License-Identifier: Apache-2.0
"""
The admin port: what probes and people are told.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from connector.admin import server
from connector.admin.metrics import Metrics
from connector.admin.status import WorkerStatus
from connector.polling.status import FeedStatus
from connector.shard import Stage


class Worker:
    """Has what the status reads of a worker."""

    def __init__(self) -> None:
        self.beat = time.monotonic()
        self.waiting_for: str | None = None
        self.settings = SimpleNamespace(name="test")
        self.group = SimpleNamespace(joined=True, assigned=frozenset({0, 1}), beat=time.monotonic())
        self.runtime: Any = SimpleNamespace(unknown={}, statuses={}, shards=8)
        self.shards = {
            number: SimpleNamespace(
                number=number, stage=Stage.RUNNING, session=None, last_error=None
            )
            for number in (0, 1)
        }


@pytest.fixture
def worker() -> Worker:
    return Worker()


def status(worker: Worker) -> WorkerStatus:
    """Make the status of a worker."""
    return WorkerStatus(worker, Metrics())  # type: ignore[arg-type] - has what is read


async def get(worker: Worker, path: str) -> tuple[int, str]:
    """Ask the admin port on a real socket."""
    async with TestClient(TestServer(server.make_app(status(worker)))) as client:
        answer = await client.get(path)
        return answer.status, await answer.text()


def test_a_member_whose_shards_are_served_is_ready(worker: Worker) -> None:
    """Ready: a member, and every shard assigned is running."""
    assert [] == status(worker).not_ready()


def test_an_empty_assignment_is_ready(worker: Worker) -> None:
    """A worker that stands by has nothing to serve."""
    worker.group.assigned = frozenset()
    worker.shards = {}

    assert [] == status(worker).not_ready()


def test_a_stopped_feed_does_not_count(worker: Worker) -> None:
    """A provider's outage must not stop a rollout."""
    worker.runtime.statuses = {"a/b": FeedStatus("a/b", 0, error="down")}

    assert [] == status(worker).not_ready()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: setattr(w, "waiting_for", "Kafka is away."), "start: Kafka is away."),
        (lambda w: setattr(w, "runtime", None), "start: connecting"),
        (lambda w: setattr(w.group, "joined", False), "group: not a member yet"),
        (lambda w: w.shards.pop(1), "shard 1: not begun"),
        (lambda w: setattr(w.shards[0], "stage", Stage.BACKING_OFF), "shard 0: backing off"),
        (
            lambda w: w.runtime.unknown.update({0: ["other/feed"]}),
            "shard 0: offsets of sources that CONNECTOR_SOURCES does not name: other/feed",
        ),
    ],
)
async def test_what_keeps_a_worker_from_being_ready_is_named(
    worker: Worker, change: Any, reason: str
) -> None:
    """Kafka's and the registry's outages count, and an unserved shard."""
    change(worker)

    assert (503, f"{reason}\n") == await get(worker, "/ready")


async def test_live_depends_on_the_loops_only(worker: Worker) -> None:
    """Waiting for Kafka is alive; a thread of the group that is silent for long is not."""
    worker.waiting_for = "Kafka is away."
    assert (200, "alive\n") == await get(worker, "/live")

    worker.group.beat -= 1000

    assert 503 == (await get(worker, "/live"))[0]


async def test_status_is_json(worker: Worker) -> None:
    """Status names shards and feeds as they are."""
    worker.runtime.statuses = {"a/b": FeedStatus("a/b", 0), "c/d": FeedStatus("c/d", 5)}
    async with TestClient(TestServer(server.make_app(status(worker)))) as client:
        told = await (await client.get("/status")).json()

    assert [0, 1] == [shard["shard"] for shard in told["shards"]]
    assert ["a/b"] == [feed["source_partition"] for feed in told["feeds"]]
    assert (True, True) == (told["ready"], told["member"])


async def test_metrics_are_prometheus_text(worker: Worker) -> None:
    """Metrics come in the text format, under the names of the project."""
    code, text = await get(worker, "/metrics")

    assert 200 == code
    assert "connector_build_info{" in text


async def test_the_admin_port_changes_nothing(worker: Worker) -> None:
    """Read-only: nothing but GET."""
    async with TestClient(TestServer(server.make_app(status(worker)))) as client:
        assert 405 == (await client.post("/status")).status
