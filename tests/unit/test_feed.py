# SPDX-License-Identifier: Apache-2.0
"""
The engine of a feed: first start, look-ahead, failures, checkpoints.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from connector.admin.metrics import Metrics
from connector.errors import RefusedError, ReloadError, RetryError
from connector.kafka.state import ShardState
from connector.polling import feed as module
from connector.polling.feed import FeedTask
from connector.polling.parts import FeedParts
from connector.polling.records import Limits, RecordMaker
from connector.polling.status import FeedState, FeedStatus
from connector.providers.base import Page, Recount, Stream
from connector.unit import Unit
from connector.upstream.retry import Backoff
from tests.unit.test_records import Encoder, identify

NAME = "example/things"
NOW = 1_700_000_000_000


class Session:
    """Commits at once, or keeps what was submitted until it is told to commit."""

    def __init__(self) -> None:
        self.state = ShardState(0, {})
        self.units: list[Unit] = []
        self.committed = 0
        self.hold = False
        self.full = False
        self.rooms = 0
        self.waits: list[str] = []

    async def room(self, _name: str) -> None:
        self.rooms += 1
        await asyncio.sleep(0)
        if self.full:
            self.waits.append("room")
        while self.full:
            await asyncio.sleep(0)

    async def submit(self, unit: Unit) -> None:
        self.units.append(unit)
        if not self.hold:
            self.commit()

    async def settled(self, _name: str) -> None:
        if self.committed < len(self.units):
            self.waits.append("settled")
        while self.committed < len(self.units):
            await asyncio.sleep(0)

    def inflight(self, _name: str) -> int:
        return sum(len(unit.messages) for unit in self.units[self.committed :])

    def commit(self) -> None:
        for unit in self.units[self.committed :]:
            self.state.apply(unit.state)
        self.committed = len(self.units)


class Numbers:
    """A feed of numbered items; what it answers is scripted."""

    stream = Stream(name="things", schema="x", identify=identify)

    def __init__(self) -> None:
        self.script: list[Any] = []
        self.asked: list[int] = []
        self.print = "fingerprint"
        self.idle = asyncio.Event()

    def fingerprint(self) -> str:
        return self.print

    def first(self, start_ms: int) -> tuple[int, Mapping[str, Any]]:
        return 0, {"": {"n": 0, "start": start_ms}}

    def load(self, parts: Mapping[str, Any]) -> int:
        return int(parts[""]["n"])

    async def fetch_page(self, _client: Any, offset: int) -> Page[int]:
        self.asked.append(offset)
        if not self.script:
            self.idle.set()
            await asyncio.Event().wait()
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step(offset) if callable(step) else page(offset, step)

    async def recount(self, _client: Any, _offset: int) -> None:
        return None


def page(offset: int, items: list[Any], **changes: Any) -> Page[int]:
    """Make a page that moves the offset by its items."""
    after = offset + len(items)
    words: dict[str, Any] = {
        "items": items,
        "next_offset": after,
        "writes": {"": {"n": after}},
        "caught_up": False,
        "polled_at": NOW,
    }
    return Page(**{**words, **changes})


class Bench:
    """A feed task with everything around it."""

    def __init__(self) -> None:
        self.session = Session()
        self.feed = Numbers()
        self.metrics = Metrics()
        self.has_records = False
        self.status = FeedStatus(NAME, 0)

        async def has_records() -> bool:
            return self.has_records

        self.parts = FeedParts(
            source="example",
            feed=self.feed,
            client=None,  # type: ignore[arg-type] - the feed asks nobody
            records=RecordMaker(
                source="example",
                connector="test",
                stream=Numbers.stream,
                topic="example.things",
                dead_letters="test.dead-letters",
                encoder=Encoder(),
                limits=Limits(records=10_000, dead_letters=10_000),
                stop_on_rejected=False,
            ),
            progress_topic="test.progress",
            encode_progress=lambda datum: repr(sorted(datum.items())).encode(),
            poll_interval=0.0,
            start=lambda now: now - 1000,
            topic_has_records=has_records,
            metrics=self.metrics,
            backoff=Backoff(first=0.001, credentials_first=0.001, cap=0.001),
            clock_ms=lambda: NOW,
        )

    async def until(self, done: Callable[[], bool]) -> None:
        """Run the task until something holds."""
        async with self.running():
            await see(done)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the task meanwhile."""
        task = asyncio.create_task(FeedTask(self.parts, self.session, self.status).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until_idle(self) -> None:
        """Run the task until its script is used up."""
        self.feed.idle.clear()
        await self.until(self.feed.idle.is_set)

    def ids(self) -> list[str]:
        """Give the ids of all records that were submitted."""
        return [m.id for u in self.session.units for m in u.messages if m.topic != "test.progress"]


async def see(done: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0)


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def items(*names: str) -> list[dict[str, str]]:
    """Make items."""
    return [{"id": name} for name in names]


async def test_the_start_is_committed_before_the_first_poll(bench: Bench) -> None:
    """A first start stores its resolved start, so that a crash does not resolve it anew."""
    await bench.until_idle()

    first = bench.session.units[0]
    assert {"n": 0, "start": NOW - 1000} == first.state[NAME]["offset"]
    assert "fingerprint" == first.state[NAME]["fingerprint"]
    assert [0] == bench.feed.asked


async def test_the_first_poll_waits_for_the_commit_of_the_start(bench: Bench) -> None:
    """What is handed over is not stored yet: nothing is asked before Kafka has it."""
    bench.session.hold = True

    async with bench.running():
        await see(lambda: bool(bench.session.waits or bench.feed.asked))
        assert [] == bench.feed.asked
        assert 1 == len(bench.session.units)
        bench.session.commit()
        await see(bench.feed.idle.is_set)

    assert [0] == bench.feed.asked
    assert ["settled"] == bench.session.waits


async def test_a_lost_cursor_never_silently_starts_over(bench: Bench) -> None:
    """No offset, yet records in the topic: stop, and name the commands that decide."""
    bench.has_records = True

    await bench.until(lambda: bench.status.state is FeedState.STOPPED)

    assert [] == bench.session.units
    assert "connector offsets reset example/things" in (bench.status.remedy or "")


async def test_a_reset_offset_may_start_over(bench: Bench) -> None:
    """What offsets reset leaves is an operator's word."""
    bench.has_records = True
    bench.session.state.apply({NAME: {"v": 1, "offset": None}})

    await bench.until_idle()

    assert [0] == bench.feed.asked


async def test_an_offset_of_other_settings_is_refused(bench: Bench) -> None:
    """A fingerprint that changed stops the feed and names the choice."""
    bench.session.state.apply({NAME: {"v": 1, "offset": {"n": 4}, "fingerprint": "other"}})

    await bench.until(lambda: bench.status.state is FeedState.STOPPED)

    assert [] == bench.feed.asked
    assert "connector offsets accept example/things" in (bench.status.remedy or "")


async def test_an_accepted_offset_takes_the_new_fingerprint(bench: Bench) -> None:
    """After offsets accept the next commit stores the fingerprint of now."""
    bench.session.state.apply({NAME: {"v": 1, "offset": {"n": 4}, "fingerprint": None}})
    bench.feed.script = [items("e")]

    await bench.until_idle()

    assert [4, 5] == bench.feed.asked
    assert "fingerprint" == bench.session.units[-1].state[NAME]["fingerprint"]


async def test_pages_are_fetched_ahead_of_the_commits(bench: Bench) -> None:
    """Fetching goes on while Kafka is busy."""
    bench.session.state.apply({NAME: {"v": 1, "offset": {"n": 0}, "fingerprint": None}})
    bench.session.hold = True
    bench.feed.script = [items("a"), items("b", "c")]

    await bench.until_idle()

    assert 0 == bench.session.committed
    assert ["a", "b", "c"] == bench.ids()


async def test_a_failure_goes_back_to_the_committed_offset(bench: Bench) -> None:
    """What was handed over is committed first, then the next poll starts from there."""
    bench.feed.script = [items("a"), RetryError("down", cause="http_5xx"), items("b")]

    await bench.until_idle()

    assert [0, 1, 1, 2] == bench.feed.asked
    assert ["a", "b"] == bench.ids()
    assert 1 == bench.metrics.retries.labels("example", "http_5xx")._value.get()


@pytest.mark.parametrize(
    "failure", [RetryError("down", cause="http_5xx"), ReloadError("unsure"), ValueError("ours")]
)
async def test_after_a_failure_nothing_is_fetched_before_the_commit(
    failure: Exception, bench: Bench
) -> None:
    """Invariant 3: the next poll starts where all that was handed over is committed."""
    bench.session.state.apply({NAME: {"v": 1, "offset": {"n": 0}, "fingerprint": None}})
    bench.session.hold = True
    bench.feed.script = [items("a"), items("b"), failure, items("c")]

    async with bench.running():
        await see(lambda: bool(bench.session.waits) or len(bench.feed.asked) > 3)
        assert [0, 1, 2] == bench.feed.asked
        bench.session.commit()
        await see(bench.feed.idle.is_set)

    assert [0, 1, 2, 2, 3] == bench.feed.asked
    assert ["a", "b", "c"] == bench.ids()


async def test_nothing_is_fetched_without_room(bench: Bench) -> None:
    """Memory is bounded: a feed that is too far ahead does not call its provider."""
    bench.session.full = True

    async with bench.running():
        await see(lambda: bool(bench.session.waits or bench.feed.asked))
        assert [] == bench.feed.asked
        bench.session.full = False
        await see(bench.feed.idle.is_set)

    assert [0] == bench.feed.asked


async def test_each_fetch_asks_for_room(bench: Bench) -> None:
    """The bound holds for every page, not only for the first."""
    seen: list[int] = []

    def step(offset: int) -> Page[int]:
        seen.append(bench.session.rooms)
        return page(offset, items(f"i{offset}"))

    bench.feed.script = [step, step, step]

    await bench.until_idle()

    assert [1, 2, 3] == seen


async def test_an_unknown_error_does_not_end_the_feed(bench: Bench) -> None:
    """A mistake of ours is told by type and place, counted, and tried again."""
    bench.feed.script = [ValueError("hunter2"), items("a")]

    await bench.until_idle()

    assert ["a"] == bench.ids()
    assert 1 == bench.metrics.fatal_errors.labels("internal")._value.get()


async def test_a_refusal_waits_for_a_person(bench: Bench) -> None:
    """A 4xx that no repetition changes stops the feed visibly."""
    bench.feed.script = [RefusedError("400 from example.", remedy="Look at it.")]

    stopped = bench.metrics.stopped.labels("example", "things")
    await bench.until(lambda: stopped._value.get() == 1)

    assert "Look at it." == bench.status.remedy


async def test_a_second_look_that_fails_disturbs_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recount only measures: a refusal of it neither stops nor delays the feed."""
    monkeypatch.setattr(module, "_RECOUNT_SECONDS", 0.0)

    async def recount(_client: Any, _offset: int) -> Recount | None:
        raise RefusedError("400 from example.")

    bench.feed.recount = recount  # type: ignore[method-assign] - scripted
    bench.feed.script = [lambda offset: page(offset, [], caught_up=True), items("a")]

    await bench.until_idle()

    assert ["a"] == bench.ids()
    assert bench.status.error is None


async def test_the_lag_grows_while_nothing_comes(bench: Bench) -> None:
    """The gauge is computed when it is scraped, and goes with the feed."""
    seen: list[float | None] = []

    def lag() -> float | None:
        return bench.metrics.registry.get_sample_value(
            "connector_source_lag_seconds", {"source": "example", "stream": "things"}
        )

    def look(offset: int) -> Page[int]:
        seen.append(lag())
        return page(offset, [])

    bench.feed.script = [lambda o: page(o, [], complete_until=NOW - 7000), look]

    await bench.until_idle()

    assert ([7.0], None) == (seen, lag())


async def test_a_checkpoint_without_records_is_throttled(bench: Bench) -> None:
    """A newer token of an empty page is not worth a transaction each time."""
    empty = lambda offset: page(offset, [], caught_up=True, durable=False)  # noqa: E731
    bench.feed.script = [items("a"), empty, empty, empty]

    await bench.until_idle()

    assert 2 == len(bench.session.units)


async def test_the_last_page_does_not_keep_records_waiting(bench: Bench) -> None:
    """An empty page that says caught up goes to the shard while records before it wait."""
    bench.session.hold = True
    bench.feed.script = [
        items("a"),
        lambda offset: page(offset, [], caught_up=True, durable=False),
    ]

    task = asyncio.create_task(bench.until_idle())
    while not bench.session.units:
        await asyncio.sleep(0)
    bench.session.commit()
    await task

    assert [(1, False), (0, True)] == [
        (len(unit.messages), unit.caught_up) for unit in bench.session.units[1:]
    ]


async def test_a_throttled_checkpoint_travels_with_the_next_record(bench: Bench) -> None:
    """No change of the offset is forgotten: what was not stored alone goes along."""
    bench.feed.script = [
        items("a"),
        lambda offset: page(offset, [], writes={"seen/1": "x"}, durable=False),
        items("b"),
    ]

    await bench.until_idle()

    assert {"v": 1, "part": "x"} == bench.session.units[-1].state[f"{NAME}#seen/1"]


async def test_unknown_fields_of_the_stored_value_are_kept(bench: Bench) -> None:
    """A field of a later release survives being rewritten."""
    bench.session.state.apply(
        {NAME: {"v": 1, "offset": {"n": 0}, "fingerprint": None, "later": [1]}}
    )
    bench.feed.script = [items("a")]

    await bench.until_idle()

    assert [1] == bench.session.units[-1].state[NAME]["later"]


async def test_another_mode_of_the_provider_stops_the_feed(bench: Bench) -> None:
    """A test key in place of a production key is not the same stream of records."""
    bench.feed.script = [
        lambda offset: page(offset, items("a"), mode="production"),
        lambda offset: page(offset, items("b"), mode="test"),
    ]

    await bench.until(lambda: bench.status.state is FeedState.STOPPED)

    assert ["a"] == bench.ids()
    assert "production" == bench.session.units[-1].state[NAME]["mode"]


async def test_progress_is_written_about_once_a_minute(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Progress travels in the feed's own transactions, also where there are no records."""
    quiet = lambda offset: page(  # noqa: E731
        offset, [], writes={}, caught_up=True, complete_until=NOW - 5
    )
    bench.feed.script = [quiet, quiet]
    await bench.until_idle()
    monkeypatch.setattr(module, "_PROGRESS_SECONDS", 0.0)
    bench.feed.script = [quiet, quiet]
    await bench.until_idle()

    progress = [m for u in bench.session.units for m in u.messages if m.topic == "test.progress"]
    assert 3 == len(progress)
    assert (NAME.encode(), NOW - 5) == (progress[0].key, progress[0].event_time)


async def test_dead_letters_are_counted(bench: Bench) -> None:
    """An item that cannot be a record is committed with the page, and seen."""
    bench.feed.script = [[{"id": "a"}, {"bad": 1}]]

    await bench.until_idle()

    assert 1 == bench.status.dead_letters
    assert 1 == bench.metrics.records_rejected.labels("example", "missing_id")._value.get()


async def test_a_day_later_the_feed_looks_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look is committed and counted, and goes on while there is more."""
    monkeypatch.setattr(module, "_RECOUNT_SECONDS", 0.0)
    answers = [Recount(writes={"recount": 5}, late=2, next_offset=9, more=True)]

    async def recount(_client: Any, _offset: int) -> Recount | None:
        return answers.pop(0) if answers else None

    bench.feed.recount = recount  # type: ignore[method-assign] - scripted
    bench.feed.script = [lambda offset: page(offset, [], caught_up=True, durable=False)]

    await bench.until_idle()

    assert [0, 9] == bench.feed.asked
    assert {"v": 1, "part": 5} == bench.session.units[-1].state[f"{NAME}#recount"]
    assert 2 == bench.metrics.late_events.labels("example", "things")._value.get()
