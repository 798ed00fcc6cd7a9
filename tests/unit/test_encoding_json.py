# SPDX-License-Identifier: Apache-2.0
"""
Exact JSON: what is read and written keeps every digit, what is no JSON is refused.
"""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.encoding import json

DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"0.1000", Decimal("0.1000")),
        (
            b"123456789012345678901234567890.123456789",
            Decimal("123456789012345678901234567890.123456789"),
        ),
        (b"18446744073709551617", 18446744073709551617),
        (b"1e400", Decimal("1e400")),
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
    ],
)
def test_numbers_are_exact(text, expected):
    """
    Every number keeps its digits; a byte order mark and duplicate keys do no harm.
    """
    assert expected == json.loads(text)
    assert type(expected) is type(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [b"NaN", b"[Infinity]", b"-Infinity", b"", b"{", b"\xff", b'{"a":', b"[1]x", b"1e" + b"9" * 30],
)
def test_what_is_no_json_is_refused(text):
    """
    Constants outside the standard, cut bodies and bad bytes raise JsonError.
    """
    with pytest.raises(json.JsonError):
        json.loads(text)


def test_errors_do_not_quote_the_document():
    """
    Neither the text of the error nor its cause holds what the provider sent.
    """
    with pytest.raises(json.JsonError) as caught:
        json.loads(b'{"secret": hunter2}')

    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("deep", [json.MAX_DEPTH + 1, 900, 200_000])
def test_depth_is_bounded(deep):
    """
    One level above the bound is refused, whether Python notices by itself or not.
    """
    with pytest.raises(json.JsonError, match="deeper than 64"):
        json.loads(b"[" * deep + b"]" * deep)


def test_depth_at_the_bound_is_accepted():
    """
    Sixty-four levels are still a document.
    """
    text = b"[" * json.MAX_DEPTH + b"]" * json.MAX_DEPTH

    assert text == json.dumps(json.loads(text))


def test_an_integer_beyond_what_python_converts_is_refused():
    """
    Five thousand digits raise JsonError and cost no quadratic time.
    """
    with pytest.raises(json.JsonError, match="digits"):
        json.loads(b"1" * 5000)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": Decimal("1.10"), "a": [1, None, True]}, b'{"b":1.10,"a":[1,null,true]}'),
        ({"n": 2**70, "d": Decimal("0.10")}, b'{"n":1180591620717411303424,"d":0.10}'),
        ("\ud800", rb'"\ud800"'),
        ({"\udc00": ("x",)}, rb'{"\udc00":["x"]}'),
    ],
)
def test_dumps_writes_exact_numbers(value, expected):
    """
    Decimals and integers above 64 bits are written with their own digits.
    """
    assert expected == json.dumps(value)


@pytest.mark.parametrize(
    "value",
    [Decimal("NaN"), {"a": Decimal("Infinity")}, object(), {1: 2**70}, [2**70, float("nan")]],
)
def test_dumps_refuses_what_json_cannot_say(value):
    """
    NaN, Infinity, unknown types and keys that are no text raise JsonError.
    """
    with pytest.raises(json.JsonError):
        json.dumps(value)


@pytest.mark.parametrize("big", [1, 2**70])
def test_canonical_sorts_keys_at_every_level(big):
    """
    Equal documents give equal bytes, whatever the order of their keys.
    """
    one = {"b": {"y": big, "x": 1}, "a": []}
    two = {"a": [], "b": {"x": 1, "y": big}}

    assert json.canonical(one) == json.canonical(two)
    assert json.canonical(one).startswith(b'{"a":[],"b":{"x":1,')


@given(DOCUMENTS)
def test_what_is_written_is_read_again(document):
    """
    Any document survives a round trip, exactly.
    """
    again = json.loads(json.dumps(document))

    assert again == document
    assert json.canonical(again) == json.canonical(json.loads(json.canonical(again)))
