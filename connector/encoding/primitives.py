# SPDX-License-Identifier: Apache-2.0
"""
Single values of a provider, as the bytes that Avro has for them.

Every function takes a value as connector.encoding.json reads it and raises MisfitError
where the value is not exactly expressible: nothing is rounded, cut or guessed.
Source: the Avro specification 1.12, binary encoding and logical types.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
_LONG_BITS: Final = 64
_LONG_DIGITS: Final = 19
# What fromisoformat takes beyond this (week dates, dates alone, commas) is no time that a
# provider documents, and it drops digits after the sixth without a word.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.(\d+))?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII
)
# Two groups of seven bits at once: a timestamp takes 0.2 µs instead of 0.6.
_MORE: Final = tuple(bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(0x4000))
_LAST: Final = tuple(
    bytes((n,)) if n < 0x80 else bytes((n & 0x7F | 0x80, n >> 7)) for n in range(0x4000)
)
_NUMBER: Final = re.compile(r"-?\d{1,60}(?:\.\d{1,60})?", re.ASCII)


class MisfitError(Exception):
    """
    The value does not fit its field. Holds nothing of the value.
    """


def varint(value: int) -> bytes:
    """
    Encode a 64-bit integer as Avro's zigzag variable-length long.
    """
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x4000:
        return _LAST[rest]
    out = b""
    while rest >= 0x4000:
        out += _MORE[rest & 0x3FFF]
        rest >>= 14
    return out + _LAST[rest]


def long(value: Any) -> bytes:
    """
    Encode an integer of 64 bits; 1.0 is one, true is none.
    """
    if type(value) is Decimal:
        # adjusted() first: an exponent of a billion must never become digits.
        if value.adjusted() >= _LONG_DIGITS or value != value.to_integral_value():
            raise MisfitError
        value = int(value)
    elif type(value) is not int:
        raise MisfitError
    if value.bit_length() >= _LONG_BITS and value != -(1 << 63):
        raise MisfitError
    return varint(value)


def boolean(value: Any) -> bytes:
    """
    Encode true or false.
    """
    if value is True:
        return b"\x01"
    if value is False:
        return b"\x00"
    raise MisfitError


def text(value: Any) -> bytes:
    """
    Encode a text; numbers are none, and a lone surrogate has no UTF-8.
    """
    if type(value) is not str:
        raise MisfitError
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise MisfitError from None
    return varint(len(data)) + data


def parse_time(value: Any) -> int:
    """
    Read an ISO-8601 time with date, hours, minutes and seconds.

    Without a zone it is UTC; a zone is applied and not kept. Digits after the third of
    the fraction have to be zeros.

    Returns:
        Milliseconds since 1970.

    Raises:
        MisfitError: Any other text, a time that does not exist, finer than milliseconds,
            or outside the years 1 to 9999 in UTC, which many readers cannot hold.
    """
    if type(value) is not str:
        raise MisfitError
    # The documented form, YYYY-MM-DDTHH:MM:SS.mmmZ, needs no closer look.
    if not (len(value) == 24 and value[10] == "T" and value[19] == "." and value[23] == "Z"):
        found = _TIME.fullmatch(value)
        if found is None or (found[1] or "")[3:].strip("0"):
            raise MisfitError
    try:
        time = datetime.fromisoformat(value)
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
    except (ValueError, OverflowError):
        raise MisfitError from None
    found_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if not _FIRST_MS <= found_ms <= _LAST_MS:
        raise MisfitError
    return found_ms


def time(value: Any) -> bytes:
    """
    Encode a time as timestamp-millis.
    """
    return varint(parse_time(value))


def decimal(value: Any, *, precision: int, scale: int) -> bytes:
    """
    Encode a number, or a plain text of one (``145000.00``), as a decimal in bytes.

    Trailing zeros beyond the scale are no digits lost.
    """
    if type(value) is int or (type(value) is str and _NUMBER.fullmatch(value)):
        value = Decimal(value)
    elif type(value) is not Decimal:
        raise MisfitError
    sign, digits, exponent = value.as_tuple()
    if not any(digits):
        return b"\x02\x00"
    # Bounds the work before any power is taken; not finite numbers never get here.
    if not isinstance(exponent, int) or value.adjusted() >= precision - scale:
        raise MisfitError
    every = "".join(map(str, digits))
    kept = every.rstrip("0")
    shift = exponent + len(every) - len(kept) + scale
    if shift < 0 or len(kept) > precision:
        raise MisfitError
    factor: int = 10**shift
    signed = int(kept) * (-factor if sign else factor)
    size = ((signed if signed >= 0 else ~signed).bit_length() + 8) // 8
    return varint(size) + signed.to_bytes(size, "big", signed=True)
