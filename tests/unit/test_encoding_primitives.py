# SPDX-License-Identifier: Apache-2.0
"""
Single values as Avro bytes: exact, or refused.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.encoding import primitives
from connector.encoding.primitives import MisfitError

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}


def read(data, schema):
    """
    Decode with fastavro, the independent reader, to the last byte.
    """
    source = io.BytesIO(data)
    value = fastavro.schemaless_reader(source, schema, None)
    assert len(data) == source.tell()
    return value


@given(st.integers(-(2**63), 2**63 - 1))
def test_long_is_what_avro_readers_expect(number):
    """
    Every integer of 64 bits is read back as itself.
    """
    assert number == read(primitives.long(number), "long")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "00"), (-1, "01"), (1, "02"), (-64, "7f"), (64, "8001"), (8192, "808001")],
)
def test_varint_golden(number, expected):
    """
    The examples of the Avro specification, and the steps between one, two and three bytes.
    """
    assert expected == primitives.varint(number).hex()


@pytest.mark.parametrize(
    ("value", "expected"), [(Decimal("1.0"), 1), (Decimal("1E+3"), 1000), (Decimal("-0.0"), 0)]
)
def test_long_takes_whole_numbers_in_any_notation(value, expected):
    """
    1.0 is an integer, as in JSON Schema.
    """
    assert expected == read(primitives.long(value), "long")


@pytest.mark.parametrize(
    "value",
    [
        True,
        "1",
        None,
        2**63,
        -(2**63) - 1,
        Decimal("1.5"),
        Decimal("1E+999999"),
        Decimal("1E-999999"),
    ],
)
def test_long_refuses_the_rest(value):
    """
    A boolean, a text, a fraction and what exceeds 64 bits are no long.
    """
    with pytest.raises(MisfitError):
        primitives.long(value)


@given(
    st.decimals(-(10**19), 10**19, places=18)
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.decimals(allow_nan=False, allow_infinity=False)
)
def test_decimal_is_exact_or_refused(number):
    """
    Precision 38 and scale 18 give the same number back, or the value does not fit.
    """
    with localcontext(prec=60):
        exact = Decimal(number)
        exponent = exact.normalize().as_tuple().exponent
        fits = exact.is_zero() or (exact.adjusted() < 20 and exponent >= -18)
        if fits:
            assert exact == read(primitives.decimal(number, precision=38, scale=18), DECIMAL)
        else:
            with pytest.raises(MisfitError):
                primitives.decimal(number, precision=38, scale=18)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("145000.00", Decimal(145000)),
        ("-0.000000000000000001", Decimal("-1E-18")),
        (Decimal("1." + "0" * 5000), Decimal(1)),
        (10**20 - 1, Decimal(10**20 - 1)),
        (Decimal("0E+999999"), Decimal(0)),
    ],
)
def test_decimal_takes_plain_texts_and_trailing_zeros(value, expected):
    """
    Amounts come as texts too; zeros beyond the scale are no digits lost.
    """
    assert expected == read(primitives.decimal(value, precision=38, scale=18), DECIMAL)


@pytest.mark.parametrize(
    "value",
    [
        True,
        "1,000.00",
        "1e5",
        "",
        "NaN",
        10**20,
        Decimal("1E-19"),
        Decimal("1E+99999999"),
        Decimal("0." + "1" * 5000),
    ],
)
def test_decimal_refuses_the_rest(value):
    """
    What is no plain number, is too large, or has more than 18 decimal places.
    """
    with pytest.raises(MisfitError):
        primitives.decimal(value, precision=38, scale=18)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00.000Z", 0),
        ("2021-03-29T11:01:43.000Z", 1617015703000),
        ("2021-03-29T11:01:43.003Z", 1617015703003),
        ("2021-03-29T11:01:43Z", 1617015703000),
        ("2021-03-29T11:01:43", 1617015703000),
        ("2021-03-29 11:01:43", 1617015703000),
        ("2021-03-29T13:01:43.5+02:00", 1617015703500),
        ("2021-03-29T11:01:43.0030000Z", 1617015703003),
        ("1969-12-31T23:59:59.999Z", -1),
        ("9999-12-31T23:59:59.999Z", 253402300799999),
    ],
)
def test_times_are_milliseconds(text, expected):
    """
    With Z, an offset or no zone (then UTC), with any fraction that ends in zeros.
    """
    assert expected == primitives.parse_time(text)


@pytest.mark.parametrize(
    "text",
    [
        "2021-03-29T11:01:43.0001Z",
        "2021-03-29T11:01:43.1234567Z",
        "2021-03-29",
        "2021-W13-1T11:01:43Z",
        "2021-03-29T11:01:43,003Z",
        "2021-02-30T11:01:43.000Z",
        "2021-03-29T24:01:43.000Z",
        "2021-03-29T11:01:60.000Z",
        "0001-01-01T00:00:00.000+23:59",
        "9999-12-31T23:59:59.999-00:01",
        "\uff12021-03-29T11:01:43.000Z",
        "2021-03-29T11:01:4.3000Z",
        "2021-03-29T11:01:43.12+1Z",
        "",
        1617015703000,
        None,
    ],
)
def test_what_is_no_exact_time_is_refused(text):
    """
    Nothing is cut, rounded or guessed.
    """
    with pytest.raises(MisfitError):
        primitives.parse_time(text)


@given(
    st.text(min_size=24, max_size=24) | st.from_regex(r"\d{4}-..-..T..:..:..\....Z", fullmatch=True)
)
def test_the_short_way_takes_nothing_that_the_long_one_refuses(text):
    """
    A text in the documented form means what the standard library says, exactly.
    """
    try:
        found = primitives.parse_time(text)
    except MisfitError:
        return

    expected = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert expected.timestamp() * 1000 == pytest.approx(found, abs=0.5)
    assert text[20:23].isdigit()


@given(st.datetimes(min_value=datetime(1, 1, 2)))  # noqa: DTZ001 - hypothesis adds the zone
def test_time_is_what_avro_readers_expect(moment):
    """
    The reader gives the same instant, where it has whole milliseconds.
    """
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    kind = {"type": "long", "logicalType": "timestamp-millis"}

    assert moment == read(primitives.time(text), kind)


def test_text_without_utf8_is_refused():
    """
    A lone surrogate has no bytes; a number is no text.
    """
    for value in ("\ud800", 5, None):
        with pytest.raises(MisfitError):
            primitives.text(value)


def test_boolean_is_nothing_but_a_boolean():
    """
    1 and "true" are none.
    """
    assert [b"\x01", b"\x00"] == [primitives.boolean(True), primitives.boolean(False)]
    for value in (1, 0, "true", None):
        with pytest.raises(MisfitError):
            primitives.boolean(value)
