# SPDX-License-Identifier: Apache-2.0
"""
Texts, times and digests of items.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.providers import digests
from connector.providers.fields import MAX_TEXT, parse_ms, read_text, write_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2021-03-29T11:01:43.000Z", 1_617_015_703_000),
        ("2021-03-29T11:01:43Z", 1_617_015_703_000),
        ("2021-03-29T11:01:43.999999Z", 1_617_015_703_999),
        ("2021-03-29T13:01:43+02:00", 1_617_015_703_000),
        ("2021-03-29T11:01:43", 1_617_015_703_000),
        ("2021-03-29 11:01:43", 1_617_015_703_000),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("2021-03-29", None),
        ("20210329", None),
        ("soon, or so they say", None),
        ("2021-13-29T11:01:43Z", None),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
        ("", None),
        (None, None),
        (1_617_015_703_000, None),
        (["2021-03-29T11:01:43Z"], None),
    ],
)
def test_times(text: Any, ms: int | None) -> None:
    """
    Moments in ISO 8601, rounded down to a millisecond; anything else is none.
    """
    assert ms == parse_ms(text)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_what_is_written_is_read(ms: int) -> None:
    """
    Every millisecond of the years 1 to 9999.
    """
    assert ms == parse_ms(write_ms(ms))
    assert len(write_ms(ms)) == 24


@given(st.one_of(st.text(), st.integers(), st.none()))
def test_no_text_breaks_the_reading_of_times(text: Any) -> None:
    """
    It answers with a number or with None.
    """
    assert isinstance(parse_ms(text), int | None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("ä", "ä"),
        ("x" * MAX_TEXT, "x" * MAX_TEXT),
        ("x" * (MAX_TEXT + 1), None),
        ("", None),
        ("\ud800", None),
        (1, None),
        (True, None),
        (None, None),
    ],
)
def test_texts(value: Any, text: str | None) -> None:
    """
    A text that can be a key, or nothing.
    """
    assert text == read_text({"id": value}, "id")
    assert read_text({}, "id") is None


def test_digests_of_items_depend_on_content_alone() -> None:
    """
    The order of fields does not matter; an id and an item never share a digest by form.
    """
    assert digests.of_item({"a": 1, "b": 2}) == digests.of_item({"b": 2, "a": 1})
    assert digests.of_item("a") != digests.of_text('"a"')
    assert digests.of_text("A") != digests.of_text("a")
    assert digests.SIZE == len(digests.of_text("\ud800")) == len(digests.of_item(None))


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_digests_are_packed_and_unpacked(found: list[bytes]) -> None:
    """
    What was packed comes back in its order.
    """
    assert found == digests.unpack(digests.pack(found))
