# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.sandbox.simulators import times
from connector.sandbox.simulators.ledger import Event, Ledger, Timeline


def event(seq: int, event_time: int) -> Event:
    return Event(seq, f"id-{seq}", "key", event_time, event_time, b"{}")


def line_of(event_times: list[int]) -> tuple[Timeline, list[Event]]:
    events = [event(seq, moment) for seq, moment in enumerate(event_times, 1)]
    timeline = Timeline()
    for start in range(0, len(events), 3):
        timeline.merge(sorted(events[start : start + 3], key=lambda e: (e.event_time, e.seq)))
    return timeline, sorted(events, key=lambda e: (e.event_time, e.seq))


def test_ledger_hands_over_an_event_once_and_not_before_its_time() -> None:
    """An event becomes due at the time from which it can be seen, and only once."""
    ledger = Ledger()
    late = ledger.add(item_id="a", key="k", event_time=10, visible_at=50, body=b"1")
    early = ledger.add(item_id="b", key="k", event_time=20, visible_at=20, body=b"2")
    assert [ledger.due(moment) for moment in (19, 20, 49, 50, 51)] == [[], [early], [], [late], []]
    assert ledger.events() == [late, early]
    assert ledger.events(since=1) == [early]


def test_ledger_orders_what_becomes_due_by_event_time() -> None:
    """Events that become visible together come in the order of their event times."""
    ledger = Ledger()
    for event_time in (30, 10, 20, 10):
        ledger.add(item_id=None, key=None, event_time=event_time, visible_at=40, body=b"0")
    assert [(e.event_time, e.seq) for e in ledger.due(40)] == [(10, 2), (10, 4), (20, 3), (30, 1)]


def test_line_keeps_the_exact_text_of_the_body() -> None:
    """A ledger line holds the body as it was sent, digit by digit."""
    one = Event(3, None, None, 1, 2, b'{"n":1.000000000000000000001}')
    assert one.line(body=True).endswith(b',"body":{"n":1.000000000000000000001}}\n')
    assert json.loads(one.line(body=False)) == {
        "seq": 3,
        "id": None,
        "key": None,
        "event_time": 1,
        "visible_at": 2,
    }


@given(
    moments=st.lists(st.integers(0, 12), max_size=90),
    after=st.none() | st.integers(-1, 13),
    before=st.none() | st.integers(-1, 13),
    after_inclusive=st.booleans(),
    before_inclusive=st.booleans(),
)
def test_span_equals_a_linear_scan(moments, after, before, after_inclusive, before_inclusive):
    """The binary search finds what looking at every event finds."""
    timeline, events = line_of(moments)
    first, end = timeline.span(
        after, before, after_inclusive=after_inclusive, before_inclusive=before_inclusive
    )
    expected = [
        e
        for e in events
        if (after is None or e.event_time > after or (after_inclusive and e.event_time == after))
        and (
            before is None or e.event_time < before or (before_inclusive and e.event_time == before)
        )
    ]
    assert events[first:end] == expected


@given(
    moments=st.lists(st.integers(0, 6), max_size=80),
    size=st.integers(1, 9),
    order=st.sampled_from(("ascending", "descending")),
)
def test_pages_of_a_stable_order_cover_the_span_once(moments, size, order):
    """Following the offset brings every event once, in the asked order."""
    timeline, events = line_of(moments)
    paged: list[Event] = []
    for offset in range(0, len(events) + size, size):
        page = timeline.page((0, len(events)), offset, size, order=order, random=Random(1))
        paged += list(page)
    assert paged == (events if order == "ascending" else events[::-1])


@given(moments=st.lists(st.integers(0, 3), min_size=1, max_size=40), size=st.integers(1, 9))
def test_unstable_order_keeps_times_and_shuffles_equal_ones(moments, size):
    """An unstable page has the times that its place has, from the events of those times."""
    timeline, events = line_of(moments)
    random = Random(2)
    for offset in range(0, len(events), size):
        page = list(timeline.page((0, len(events)), offset, size, order="unstable", random=random))
        assert [e.event_time for e in page] == [
            e.event_time for e in events[offset : offset + size]
        ]
        assert len({e.seq for e in page}) == len(page)


def test_unstable_order_differs_between_requests() -> None:
    """Events of equal time change places from one request to the next."""
    timeline, events = line_of([5] * 20)
    random = Random(3)
    orders = {
        tuple(
            e.seq for e in timeline.page((0, len(events)), 0, 20, order="unstable", random=random)
        )
        for _ in range(5)
    }
    assert len(orders) == 5


def test_unstable_order_shuffles_over_the_edges_of_a_page() -> None:
    """A page in the middle of equal times shows events of the pages beside it."""
    timeline, events = line_of([5] * 30)
    random = Random(4)
    seen = {
        event.seq
        for _ in range(50)
        for event in timeline.page((0, len(events)), 10, 10, order="unstable", random=random)
    }
    assert seen == set(range(1, 31))


def test_times_are_written_and_read_with_milliseconds() -> None:
    """A time survives being written and read, to the millisecond."""
    assert times.iso(1_617_015_703_007) == "2021-03-29T11:01:43.007Z"
    assert times.parse("2021-03-29T11:01:43.007Z") == 1_617_015_703_007
    assert times.parse("2021-03-29T13:01:43+02:00") == 1_617_015_703_000


@pytest.mark.parametrize("text", ["", "yesterday", "2021-03-29T11:01:43", "1617015703"])
def test_times_without_a_zone_or_a_form_are_refused(text) -> None:
    """What is no ISO time with a zone cannot be read."""
    with pytest.raises(ValueError):
        times.parse(text)
