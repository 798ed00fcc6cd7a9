# SPDX-License-Identifier: Apache-2.0
"""
Waits between attempts grow, are spread, capped, and obey what was asked.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import CredentialsError, RateLimitedError, RetryError
from connector.upstream.retry import Backoff

LONGEST = lambda low, high: high  # noqa: E731 - dice that always fall high
SHORTEST = lambda low, high: low  # noqa: E731 - dice that always fall low


def test_growth_up_to_the_cap():
    """
    The longest possible wait doubles from 2 s to 15 min.
    """
    backoff = Backoff(uniform=LONGEST)

    delays = [backoff.next_delay(RetryError("x")) for _ in range(12)]

    assert [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900] == delays


def test_full_jitter():
    """
    Each wait may be anything from the first second up.
    """
    backoff = Backoff(uniform=SHORTEST)

    assert [1.0] * 5 == [backoff.next_delay(RetryError("x")) for _ in range(5)]


def test_credentials_begin_slowly():
    """
    Refused credentials wait from 30 s on.
    """
    low, high = Backoff(uniform=SHORTEST), Backoff(uniform=LONGEST)

    assert 30.0 == low.next_delay(CredentialsError("x"))
    assert [60, 120, 240, 480, 900] == [high.next_delay(CredentialsError("x")) for _ in range(5)]


def test_retry_after_is_a_lower_bound():
    """
    What was asked is never undercut, and stretched by a tenth at most.
    """
    asked = RateLimitedError("x", retry_after=100.0)

    assert 100.0 == Backoff(uniform=SHORTEST).next_delay(asked)
    assert 110.0 == Backoff(uniform=LONGEST).next_delay(asked)


def test_a_long_retry_after_passes_the_cap():
    """
    An hour that the provider asked for is an hour, and at most 30 s more.
    """
    asked = RetryError("x", retry_after=3600.0)

    assert 3630.0 == Backoff(uniform=LONGEST).next_delay(asked)


def test_a_short_retry_after_does_not_shorten():
    """
    A provider that always says 0 is not hammered.
    """
    backoff = Backoff(uniform=LONGEST)
    delays = [backoff.next_delay(RetryError("x", retry_after=0.0)) for _ in range(4)]

    assert [2, 4, 8, 16] == delays


def test_reset():
    """
    A success begins anew.
    """
    backoff = Backoff(uniform=LONGEST)
    backoff.next_delay(RetryError("x"))
    backoff.next_delay(RetryError("x"))
    backoff.reset()

    assert (0, 2.0) == (backoff.failures, backoff.next_delay(OSError()))


@given(st.integers(0, 2**32), st.lists(st.floats(0, 3600) | st.none(), min_size=1, max_size=60))
def test_waits_stay_in_bounds(seed, asked):
    """
    Every wait is at least what was asked and 1 s, and at most 15 min or asked and 30 s.
    """
    backoff = Backoff(uniform=random.Random(seed).uniform)
    for seconds in asked:
        delay = backoff.next_delay(RetryError("x", retry_after=seconds))

        assert max(1.0, seconds or 0.0) <= delay <= max(900.0, (seconds or 0.0) + 30.0)


def test_a_long_outage_does_not_overflow():
    """
    Thousands of failures in a row still give a number.
    """
    backoff = Backoff(uniform=LONGEST)
    backoff.failures = 100_000

    assert 900.0 == backoff.next_delay(RetryError("x"))


def test_bounds_that_make_no_sense():
    """
    A first wait above the cap is a mistake of ours.
    """
    with pytest.raises(ValueError):
        Backoff(first=10.0, cap=5.0)
