# SPDX-License-Identifier: Apache-2.0
"""
The server's clock is learnt from Date headers, conservatively.
"""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.upstream.clock import MAX_SKEW_MS, ServerClock, parse_http_date

NOON = 1_790_000_000_000


def clock_at(now_ms: int) -> tuple[ServerClock, list[float]]:
    heard: list[float] = []
    return ServerClock(lambda: now_ms, heard.append), heard


def dated(ms: int, **more: str) -> dict[str, str]:
    return {"Date": formatdate(ms // 1000, usegmt=True), **more}


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_the_three_forms_of_a_date(text):
    """
    All forms of RFC 9110 name the same moment.
    """
    assert 784_111_777_000 == parse_http_date(text)


@pytest.mark.parametrize(
    "text",
    ["", "0", "soon", "Sun, 06 Nov 1994 99:99:99 GMT", "Sun, 06 Nov 99999999999 08:49:37 GMT"],
)
def test_what_is_no_date(text):
    """
    Anything else is None, never an exception.
    """
    assert parse_http_date(text) is None


@given(st.text())
def test_no_text_breaks_the_parser(text):
    """
    A server may send any text as a date.
    """
    parse_http_date(text)


@pytest.mark.parametrize("off_ms", [0, 300, 999])
def test_a_right_clock_stays_right(off_ms):
    """
    Whole seconds alone are no skew.
    """
    clock, heard = clock_at(NOON)

    date = clock.learn(dated(NOON + off_ms), answered_ms=NOON + off_ms, took_ms=20)

    assert (NOON, 0, []) == (date, clock.skew_ms, heard)


@pytest.mark.parametrize(("off_ms", "expected"), [(30_000, 30_000), (-30_000, -28_900)])
def test_skew_is_the_least_that_is_possible(off_ms, expected):
    """
    A server 30 s away, asked for 100 ms, is believed to be no further than it must be.
    """
    clock, heard = clock_at(NOON)

    clock.learn(dated(NOON + off_ms), answered_ms=NOON, took_ms=100)

    assert (expected, [expected / 1000], NOON + expected) == (clock.skew_ms, heard, clock.now())


@given(
    st.integers(-3_600_000, 3_600_000),
    st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 5000)), min_size=1),
)
def test_the_estimate_settles(skew_ms, answers):
    """
    However far off the server is, each answer brings the estimate nearer, never further,
    and it ends within a second and the time that the quickest answer took.
    """
    clock, _ = clock_at(NOON)
    errors = [abs(skew_ms)]
    for later, took in answers:
        date = dated(NOON + later + skew_ms)
        clock.learn(date, answered_ms=NOON + later, took_ms=took)
        errors.append(abs(clock.skew_ms - skew_ms))

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] <= 1000 + min(took for _, took in answers)


def test_a_slow_answer_tells_little():
    """
    When the date may be 20 s old, a difference of 10 s is no skew.
    """
    clock, _ = clock_at(NOON)

    clock.learn(dated(NOON - 10_000), answered_ms=NOON, took_ms=20_000)

    assert 0 == clock.skew_ms


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Date": "yesterday"},
        dated(0),
        dated(NOON + MAX_SKEW_MS + 5000),
        dated(NOON - 60_000, Age="60"),
        dated(NOON - 60_000, Age="nonsense"),
    ],
)
def test_dates_that_are_not_believed(headers):
    """
    Missing, broken, absurd and cached dates change nothing.
    """
    clock, heard = clock_at(NOON)

    assert clock.learn(headers, answered_ms=NOON, took_ms=10) is None
    assert (0, []) == (clock.skew_ms, heard)
