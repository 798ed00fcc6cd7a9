# SPDX-License-Identifier: Apache-2.0
"""
The server's clock, learnt from ``Date`` headers (notes 18).

A Date has whole seconds and was written somewhere between the request's start and its
answer, so one answer tells an interval::

    skew ∈ [date - answered, date + 1 s - started)

The estimate moves as little as brings it into that interval, which always holds the true
skew. So a computer whose clock is right keeps a skew of 0, slow answers, whose interval is
wide, move nothing, and answer by answer the estimate settles instead of trembling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# A Date further from our clock than this is a broken server or a stale cache. A computer
# whose own clock is off by a day cannot check a certificate anyway.
MAX_SKEW_MS = 24 * 3600 * 1000

_SECOND_MS = 1000


def parse_http_date(text: str) -> int | None:
    """
    Read a date of RFC 9110, 5.6.7, in any of its three forms.

    Returns:
        Milliseconds since 1970, or None if it is no date.
    """
    try:
        moment = parsedate_to_datetime(text)
        # The asctime form has no zone; RFC 9110 says that it is UTC.
        aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return int((aware - _EPOCH).total_seconds()) * _SECOND_MS
    except (ValueError, OverflowError):
        return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ServerClock:
    """
    Our clock plus what is known of the server's.

    Args:
        now_ms: Our clock.
        on_skew: Told the skew in seconds when it changes.
    """

    def __init__(self, now_ms: Callable[[], int], on_skew: Callable[[float], None]) -> None:
        self._now_ms = now_ms
        self._on_skew = on_skew
        self.skew_ms = 0

    def now(self) -> int:
        """
        Tell the server's clock in milliseconds since 1970, as far as it is known.
        """
        return self._now_ms() + self.skew_ms

    def learn(self, headers: Mapping[str, str], *, answered_ms: int, took_ms: int) -> int | None:
        """
        Take in the Date of an answer.

        Args:
            headers: The answer's, case-insensitive.
            answered_ms: Our clock when the headers had come.
            took_ms: How long after the request's start that was.

        Returns:
            The server's time, milliseconds since 1970, in whole seconds; None without a
            Date that makes sense. One with an Age is a cache's, and as old as it says.
        """
        date = parse_http_date(headers.get("Date", ""))
        if date is None or abs(date - answered_ms) > MAX_SKEW_MS:
            return None
        if headers.get("Age", "0").strip() != "0":
            return None
        least = date - answered_ms
        most = date + _SECOND_MS - (answered_ms - took_ms)
        settled = min(max(self.skew_ms, least), most)
        if settled != self.skew_ms:
            self.skew_ms = settled
            self._on_skew(settled / 1000)
        return date
