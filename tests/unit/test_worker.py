# SPDX-License-Identifier: Apache-2.0
"""
How one process begins, watches over itself, and ends.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from connector import worker as module
from connector.admin.metrics import Metrics
from connector.errors import OutsideError, TopicError
from connector.kafka.group import group_config
from connector.worker import Worker


class Group(threading.Thread):
    """
    A membership that does as it is told.
    """

    latest: Group
    dies = False
    hangs = False

    def __init__(self, _config: object, *, listener: Any, **more: Any) -> None:
        super().__init__(daemon=True)
        Group.latest = self
        self.listener = listener
        self.more = more
        self.topic_gone = False
        self.released = threading.Event()
        self._left = threading.Event()

    def leave(self) -> None:
        self._left.set()

    def run(self) -> None:
        if Group.dies:
            return
        self._left.wait(30)
        if Group.hangs:
            self.released.wait(30)


class Runtime:
    """
    What was found outside; its offsets topic is looked at as the test says.
    """

    shards = 8
    client_id = "c"
    kafka_logger = None
    make_producer = replay = tasks = None

    def __init__(self) -> None:
        self.looks: list[BaseException | None] = []
        self.looked = 0
        self.closed = False

    async def check_offsets_topic(self) -> None:
        self.looked += 1
        if self.looks and (failure := self.looks.pop(0)) is not None:
            raise failure

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Group", Group)
    monkeypatch.setattr(Group, "dies", False)
    monkeypatch.setattr(Group, "hangs", False)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "_GIVE_UP_SECONDS", 0.1)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def make(runtime: Runtime) -> Callable[..., Worker]:
    def make(connect: Any = None) -> Worker:
        async def found(*_: object) -> Runtime:
            return runtime

        settings: Any = SimpleNamespace(
            drain_timeout=0.1,
            kafka=SimpleNamespace(consumer=dict),
            group_id="c",
            offsets_topic="c.offsets",
        )
        return Worker(settings, Metrics(), connect or found)

    return make


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_stop_ends_it(make: Callable[..., Worker], runtime: Runtime) -> None:
    """
    Leaves the group, closes what was opened, and returns.
    """
    worker = make()
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    worker.stop()

    await asyncio.wait_for(running, 10)

    assert runtime.closed


async def test_a_stop_does_not_wait_for_the_first_connection(
    make: Callable[..., Worker],
) -> None:
    """
    Whoever is asked to end while a broker does not answer ends at once.
    """
    asked, undone = asyncio.Event(), asyncio.Event()

    async def connect(*_: object) -> Runtime:
        asked.set()
        try:
            return await asyncio.get_running_loop().create_future()
        finally:
            undone.set()

    worker = make(connect)
    running = asyncio.create_task(worker.run())
    await asked.wait()
    worker.stop()

    await asyncio.wait_for(running, 10)

    assert undone.is_set()


async def test_outages_at_the_start_are_waited_out(
    make: Callable[..., Worker], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The reason is visible meanwhile, and gone afterwards.
    """
    failures = [OutsideError("no broker", cause="kafka")]
    seen: list[str | None] = []

    class Instantly(module.Backoff):
        def next_delay(self, error: BaseException) -> float:
            seen.append(worker.waiting_for)
            return 0.0

    monkeypatch.setattr(module, "Backoff", Instantly)

    async def connect(*_: object) -> Runtime:
        if failures:
            raise failures.pop()
        return runtime

    worker = make(connect)
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    worker.stop()
    await asyncio.wait_for(running, 10)

    assert ["no broker"] == seen
    assert worker.waiting_for is None


async def test_a_topic_that_cannot_be_worked_with_ends_it(make: Callable[..., Worker]) -> None:
    """
    Waiting does not mend a wrong topic.
    """

    async def connect(*_: object) -> Runtime:
        raise TopicError("wrong")

    with pytest.raises(TopicError):
        await asyncio.wait_for(make(connect).run(), 10)


async def test_a_stop_is_bounded_though_the_groups_thread_hangs(
    make: Callable[..., Worker], runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Invariant 7: the end of a stop depends on nobody's goodwill.
    """
    monkeypatch.setattr(Group, "hangs", True)
    worker = make()
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    worker.stop()

    await asyncio.wait_for(running, 10)

    assert runtime.closed
    Group.latest.released.set()


async def test_a_dead_group_thread_ends_the_worker(
    make: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nobody would tell us any more what is ours.
    """
    monkeypatch.setattr(Group, "dies", True)

    with pytest.raises(RuntimeError, match="thread of the group"):
        await asyncio.wait_for(make().run(), 10)


async def test_a_missing_topic_is_looked_at_before_it_counts(
    make: Callable[..., Worker], runtime: Runtime
) -> None:
    """
    A broker that has just begun to start may not know the topic; a deleted one ends us.
    """
    runtime.looks = [None, OutsideError("no answer", cause="kafka"), TopicError("deleted")]
    worker = make()
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    Group.latest.topic_gone = True

    with pytest.raises(TopicError):
        await asyncio.wait_for(running, 10)

    assert 3 == runtime.looked


async def test_a_watch_that_fails_ends_the_worker(
    make: Callable[..., Worker], runtime: Runtime
) -> None:
    """
    An error that nobody expected is told, not swallowed.
    """
    runtime.looks = [ValueError("unknown")]
    worker = make()
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    Group.latest.topic_gone = True

    with pytest.raises(ValueError, match="unknown"):
        await asyncio.wait_for(running, 10)


async def test_a_revocation_ends_before_the_group_loses_patience(
    make: Callable[..., Worker],
) -> None:
    """
    A drain budget beyond max.poll.interval.ms would cost the membership.
    """
    worker = make()
    worker.settings.drain_timeout = 3600.0  # type: ignore[misc] - a namespace here
    running = asyncio.create_task(worker.run())
    await until(lambda: worker.group is not None)
    revoke_seconds = Group.latest.more["revoke_seconds"]
    worker.settings.drain_timeout = 0.1  # type: ignore[misc] - likewise
    worker.stop()
    await asyncio.wait_for(running, 10)

    interval = group_config({}, group_id="c", client_id="c")["max.poll.interval.ms"]
    assert revoke_seconds < interval / 1000
