# SPDX-License-Identifier: Apache-2.0
"""
The request budget and the gate.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import RateLimitedError
from connector.upstream.limits import Gate, Limiter
from tests.unit.upstream_kit import Hands


def limiter(rate, hands, **more) -> Limiter:
    return Limiter("stedi", rate, timing=hands.timing, **more)


@given(
    st.integers(1, 60),
    st.floats(0.1, 1000),
    st.lists(st.floats(0, 50), max_size=40),
    st.booleans(),
)
async def test_never_more_than_the_budget_in_any_window(count, seconds, idle, start_empty):
    """
    However requests come, no window of the rate's length sees more than its number.
    """
    hands = Hands()
    bucket = limiter((count, seconds), hands, start_empty=start_empty)
    times = []
    for pause in [*idle, *([0.0] * (count + 5))]:
        hands.seconds += pause
        await bucket.acquire()
        times.append(hands.seconds)

    for late, early in zip(times[count:], times, strict=False):
        assert late - early > seconds * 0.999


async def test_the_whole_budget_can_be_used():
    """
    Who asks all the time gets as much as was promised, within a tenth.
    """
    hands = Hands()
    bucket = limiter((100, 60.0), hands)
    begin, got = hands.seconds, 0
    while hands.seconds < begin + 3600:
        await bucket.acquire()
        got += 1

    assert 5400 <= got <= 6000


async def test_without_a_rate_nothing_waits():
    """
    No limit of ours, no wait.
    """
    hands = Hands()
    bucket = limiter(None, hands)
    bucket.set_share(0.1)
    for _ in range(1000):
        await bucket.acquire()

    assert [] == hands.slept


async def test_start_empty():
    """
    The bucket of a shard just gained has no burst.
    """
    hands = Hands()
    await limiter((10, 10.0), hands, start_empty=True).acquire()

    assert sum(hands.slept) > 1.0


async def test_a_share_slows_the_flow():
    """
    An eighth of the budget takes eight times as long.
    """
    hands = Hands()
    bucket = limiter((60, 60.0), hands, start_empty=True)
    bucket.set_share(1 / 8)
    begin = hands.seconds
    for _ in range(10):
        await bucket.acquire()

    assert 75 <= hands.seconds - begin <= 95


async def test_no_share_lets_nothing_through_until_there_is_one():
    """
    With a share of 0 requests wait, and go on when it grows.
    """
    hands = Hands()
    bucket = limiter((60, 60.0), hands)
    bucket.set_share(0.0)
    waiting = asyncio.create_task(bucket.acquire())
    for _ in range(50):
        await asyncio.sleep(0)

    assert not waiting.done()

    bucket.set_share(1.0)
    await waiting


@pytest.mark.parametrize("fraction", [-0.1, 1.1])
def test_a_share_is_a_fraction(fraction):
    """
    Anything else is a mistake of ours.
    """
    with pytest.raises(ValueError):
        limiter((1, 1.0), Hands()).set_share(fraction)


async def test_a_short_pause_is_waited_out():
    """
    What the provider asks for overrides a full bucket.
    """
    hands = Hands()
    bucket = limiter((100, 1.0), hands)
    bucket.pause(4.0)
    await bucket.acquire()

    assert (4.0, 0.0) == (sum(hands.slept), bucket.paused_for)


async def test_a_long_pause_is_an_error_with_its_rest():
    """
    Nobody hangs for an hour: the caller is told how long it still takes.
    """
    hands = Hands()
    bucket = limiter(None, hands)
    bucket.pause(3600.0)
    hands.seconds += 600.0

    with pytest.raises(RateLimitedError) as caught:
        await bucket.acquire()

    assert (3000.0, "paused", []) == (caught.value.retry_after, caught.value.cause, hands.slept)


async def test_pauses_only_grow_and_are_spread():
    """
    A shorter pause does not end a longer one; the end is moved back at random.
    """
    hands = Hands(jitter=1.0)
    bucket = limiter(None, hands)
    bucket.pause(20.0)
    bucket.pause(1.0)

    assert 22.0 == bucket.paused_for


async def test_waiting_yields_to_cancellation():
    """
    Who is cancelled while waiting leaves the queue, and the next is served.
    """
    hands = Hands()
    bucket = limiter((60, 60.0), hands)
    bucket.set_share(0.0)
    first, second = (asyncio.create_task(bucket.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    bucket.set_share(1.0)
    await second

    with pytest.raises(asyncio.CancelledError):
        await first


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Visitors:
    """
    Tasks that stay inside a gate until they are let go.
    """

    def __init__(self, gate: Gate, count: int) -> None:
        self.inside: list[int] = []
        self.leave = [asyncio.Event() for _ in range(count)]
        self.tasks = [asyncio.create_task(self._visit(gate, n)) for n in range(count)]

    async def _visit(self, gate: Gate, number: int) -> None:
        async with gate:
            self.inside.append(number)
            try:
                await self.leave[number].wait()
            finally:
                self.inside.remove(number)


async def test_the_gate_counts_and_keeps_the_order():
    """
    At most so many are inside, first come, first served.
    """
    visitors = Visitors(Gate(2), 4)
    await settle()
    assert [0, 1] == visitors.inside

    visitors.leave[0].set()
    await settle()
    assert [1, 2] == visitors.inside

    for each in visitors.leave:
        each.set()
    await asyncio.gather(*visitors.tasks)


async def test_the_gate_can_be_widened_and_narrowed():
    """
    A new limit counts at once; who is inside may stay.
    """
    gate = Gate(1)
    visitors = Visitors(gate, 5)
    await settle()
    gate.set_limit(3)
    await settle()
    assert [0, 1, 2] == visitors.inside

    gate.set_limit(1)
    visitors.leave[0].set()
    visitors.leave[1].set()
    await settle()
    assert [2] == visitors.inside

    for each in visitors.leave:
        each.set()
    await asyncio.gather(*visitors.tasks)


async def test_who_is_cancelled_gives_the_place_away():
    """
    Cancelling those who wait, those admitted in this very step, and those inside
    leaves no place lost.
    """
    gate = Gate(1)
    visitors = Visitors(gate, 4)
    await settle()
    visitors.tasks[1].cancel()  # waiting
    visitors.tasks[0].cancel()  # inside; its leaving admits the next one …
    await asyncio.sleep(0)
    visitors.tasks[2].cancel()  # … which may be cancelled before it runs
    await settle()
    assert [3] == visitors.inside

    visitors.leave[3].set()
    await asyncio.gather(*visitors.tasks, return_exceptions=True)
    async with gate:
        pass


async def test_who_is_cancelled_as_a_place_becomes_free_is_passed_over():
    """
    A place that becomes free in the step of a cancellation goes to the next one.
    """
    visitors = Visitors(Gate(1), 3)
    await settle()
    visitors.leave[0].set()
    visitors.tasks[1].cancel()
    await settle()
    assert [2] == visitors.inside

    visitors.leave[2].set()
    ends = await asyncio.gather(*visitors.tasks, return_exceptions=True)

    assert [type(None), asyncio.CancelledError, type(None)] == [type(end) for end in ends]


def test_a_gate_lets_at_least_one_through():
    """
    A limit of 0 is a mistake of ours.
    """
    with pytest.raises(ValueError):
        Gate(0)
