# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from connector.encoding.decoding import Decoded
from connector.errors import OutsideError, RejectedRecordError
from connector.kafka.reader import Record
from connector.tail import to_line

_AVRO = b"\x00\x00\x00\x00\x07body"


class _Decoder:
    def __init__(self, result: dict[str, Any] | Exception) -> None:
        self._result = result

    async def decode(self, value: bytes) -> Decoded:
        if isinstance(self._result, Exception):
            raise self._result
        return Decoded("connector.test.Record", self._result)


def _record(
    value: bytes | None,
    *,
    key: bytes | None = b"k-1",
    headers: Sequence[tuple[str, bytes | None]] = (),
    timestamp: int = 1_760_000_000_123,
) -> Record:
    return Record("t", 3, 41, timestamp, key, value, headers)


async def _shown(record: Record, result: dict[str, Any] | Exception | None = None) -> Any:
    return json.loads(await to_line(record, _Decoder({} if result is None else result)))


async def test_line_has_place_key_headers_and_value() -> None:
    """
    A message becomes one object with all that belongs to it.
    """
    record = _record(_AVRO, headers=[("id", b"e-1"), ("seq", b"0.100.1")])

    assert await _shown(record, {"status": "PAID"}) == {
        "topic": "t",
        "partition": 3,
        "offset": 41,
        "timestamp": "2025-10-09T08:53:20.123Z",
        "key": "k-1",
        "headers": {"id": "e-1", "seq": "0.100.1"},
        "value": {"status": "PAID"},
    }


@pytest.mark.parametrize(
    ("decimal", "text"),
    [
        ("12.500000000000000000", "12.5"),
        ("100.000000000000000000", "100"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("-12345678901234567890.123456789012345678", "-12345678901234567890.123456789012345678"),
        ("0E-18", "0"),
        ("100", "100"),
    ],
)
async def test_decimals_are_texts_with_all_their_digits(decimal: str, text: str) -> None:
    """
    A decimal keeps its value exactly, without the zeros of its scale.
    """
    shown = await _shown(_record(_AVRO), {"amount": [Decimal(decimal)]})

    assert shown["value"] == {"amount": [text]}


async def test_other_types_become_texts() -> None:
    """
    Times, bytes and numbers that JSON has not are shown as texts.
    """
    datum = {
        "at": datetime(2026, 1, 31, 12, 0, 0, 5000, UTC),
        "day": datetime(2026, 1, 31, tzinfo=UTC).date(),
        "raw": b"\xff",
        "odd": float("nan"),
        "flag": True,
        "none": None,
    }

    assert (await _shown(_record(_AVRO), datum))["value"] == {
        "at": "2026-01-31T12:00:00.005Z",
        "day": "2026-01-31",
        "raw": "/w==",
        "odd": "nan",
        "flag": True,
        "none": None,
    }


async def test_dead_letter_is_shown_as_the_json_it_is() -> None:
    """
    A value that is JSON is shown as it is, its numbers digit by digit.
    """
    line = await to_line(_record(b'{"amount": 1.10, "n": 12345678901234567890}'), _Decoder({}))

    assert '"value":{"amount":1.10,"n":12345678901234567890}' in line


async def test_tombstone_is_null() -> None:
    """
    A message without a value has the value null.
    """
    assert (await _shown(_record(None)))["value"] is None


@pytest.mark.parametrize("value", [b"\xff\xfe", b"", b"xxxx", b"[" * 100])
async def test_what_is_neither_avro_nor_json_is_base64(value: bytes) -> None:
    """
    A value that nobody can read is shown with its bytes and the reason.
    """
    shown = await _shown(_record(value))

    assert shown["undecoded"]["base64"] == b64encode(value).decode()
    assert shown["undecoded"]["reason"].startswith("neither Avro nor JSON")
    assert "value" not in shown


async def test_avro_that_cannot_be_read_is_base64() -> None:
    """
    A record of an unknown schema is shown with its bytes and the reason.
    """
    shown = await _shown(_record(_AVRO), RejectedRecordError("unknown_schema"))

    assert shown["undecoded"] == {
        "reason": "unknown_schema",
        "base64": b64encode(_AVRO).decode(),
    }


async def test_registry_that_is_away_is_an_error() -> None:
    """
    An outage is told as such, and not as a property of the record.
    """
    with pytest.raises(OutsideError):
        await _shown(_record(_AVRO), OutsideError("away"))


async def test_key_and_headers_that_are_no_text_are_base64() -> None:
    """
    Bytes that are no UTF-8 do not end the command.
    """
    record = _record(None, key=b"\xff", headers=[("h", b"\xfe"), ("n", None)], timestamp=-1)

    shown = await _shown(record)

    assert shown["key"] == {"base64": "/w=="}
    assert shown["headers"] == {"h": {"base64": "/g=="}, "n": None}
    assert shown["timestamp"] is None


async def test_header_that_comes_twice_is_a_list() -> None:
    """
    No header is hidden by another of its name.
    """
    record = _record(None, headers=[("h", b"1"), ("x", b"2"), ("h", b"3")])

    assert (await _shown(record))["headers"] == {"h": ["1", "3"], "x": "2"}


async def test_line_cannot_command_a_terminal() -> None:
    """
    Characters that a terminal obeys are escaped, and still the same text.
    """
    text = "a\x1b[31m\x9b31m\u202eb\u2028c\nd"

    line = await to_line(_record(_AVRO), _Decoder({"text": text}))

    assert not set("\x1b\x9b\u202e\u2028\n") & set(line)
    assert json.loads(line)["value"]["text"] == text


async def test_impossible_timestamp_does_not_end_the_command() -> None:
    """
    A timestamp beyond the calendar is shown as none.
    """
    assert (await _shown(_record(None, timestamp=2**62)))["timestamp"] is None
