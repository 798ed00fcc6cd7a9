# SPDX-License-Identifier: Apache-2.0
"""
Reading what every provider has in its items: texts that identify, and times.

Nothing here raises: what cannot be used is None, and the caller decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

# Ids and keys become headers and message keys; no provider's is longer than a uuid.
MAX_TEXT = 1024

# YYYY-MM-DDTHH:MM, the shortest text that names a moment and not a day.
_SHORTEST_TIME = 16

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_text(raw: Mapping[str, Any], field: str) -> str | None:
    """
    Give a field that can be an id or a key.

    Returns:
        The text; None where it is missing, empty, no text, longer than MAX_TEXT, or
        holds a lone surrogate, which has no UTF-8.
    """
    value = raw.get(field)
    if type(value) is not str or not 0 < len(value) <= MAX_TEXT:
        return None
    return value if value.isascii() or _is_utf8(value) else None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def parse_ms(value: object) -> int | None:
    """
    Read an ISO-8601 time as milliseconds since 1970, rounded down.

    Without a zone it is UTC, as both providers write it. A date alone is no moment.

    Returns:
        None for everything that is no such text.
    """
    if type(value) is not str or len(value) < _SHORTEST_TIME:
        return None
    try:
        moment = datetime.fromisoformat(value)
        since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        return None
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def write_ms(ms: int) -> str:
    """
    Write milliseconds since 1970 as both providers want it: ``2021-11-18T11:08:23.003Z``.
    """
    moment = (_EPOCH + timedelta(milliseconds=ms)).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"
