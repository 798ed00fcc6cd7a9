# SPDX-License-Identifier: Apache-2.0
"""
Retry-After and X-RateLimit-* in every form that servers send.
"""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from connector.upstream.hints import Hints, read_hints

NOW = 1_790_000_000_000


def hints(status: int = 429, **headers: str) -> Hints:
    named = CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})
    return read_hints(named, status=status, server_ms=NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("86400", 86400.0),
        (formatdate(NOW // 1000 + 90, usegmt=True), 90.0),
        (formatdate(NOW // 1000 - 90, usegmt=True), 0.0),
        ("99999999999999999999", 99999999999999999999.0),
    ],
)
def test_retry_after(text, expected):
    """
    Seconds, or a date held against the server's own clock; the past means now.
    """
    assert Hints(expected, False, ()) == hints(retry_after=text)


@pytest.mark.parametrize("text", ["", "-5", "soon", "1e9", "nan", "inf", "9" * 400, "٣", "1,5"])
def test_broken_retry_after_is_ignored_and_named(text):
    """
    What makes no sense asks for nothing, and is counted.
    """
    assert Hints(None, False, ("Retry-After",)) == hints(retry_after=text)


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("30", 30.0),
        (str(NOW // 1000 + 45), 45.0),
        (str(NOW + 45_000), 45.0),
        (str(NOW // 1000 - 45), 0.0),
    ],
)
def test_reset_by_magnitude(reset, expected):
    """
    Reset is seconds from now, seconds since 1970, or milliseconds since 1970.
    """
    assert Hints(expected, True, ()) == hints(
        200, x_ratelimit_remaining="0", x_ratelimit_reset=reset
    )


def test_a_budget_that_is_left_asks_for_nothing():
    """
    A Reset counts only when nothing remains or the status is 429.
    """
    assert Hints(None, False, ()) == hints(200, x_ratelimit_remaining="5", x_ratelimit_reset="30")
    assert Hints(30.0, False, ()) == hints(429, x_ratelimit_reset="30")
    assert Hints(None, True, ()) == hints(200, x_ratelimit_remaining="0")


def test_retry_after_goes_first():
    """
    Where both are there, Retry-After is obeyed; a broken one leaves it to Reset.
    """
    assert Hints(5.0, False, ()) == hints(retry_after="5", x_ratelimit_reset="30")
    assert Hints(30.0, False, ("Retry-After",)) == hints(retry_after="-", x_ratelimit_reset="30")


def test_broken_budget_headers_are_named():
    """
    Each header that makes no sense is named once.
    """
    assert Hints(None, False, ("X-RateLimit-Remaining", "X-RateLimit-Reset")) == hints(
        429, x_ratelimit_remaining="-1", x_ratelimit_reset="tomorrow"
    )


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_the_reader(after, remaining, reset):
    """
    Whatever the headers hold, the wait is a number that is not negative, or None.
    """
    wait = hints(retry_after=after, x_ratelimit_remaining=remaining, x_ratelimit_reset=reset).wait

    assert wait is None or wait >= 0
