# SPDX-License-Identifier: Apache-2.0
"""
Items of providers as Avro: nothing is lost, whatever an item looks like.
"""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.encoding import json, schemas
from connector.encoding.avro import StreamEncoder
from connector.encoding.fit import compile_writer
from connector.encoding.schemas import parse
from connector.errors import RejectedRecordError

ACTIVITY = schemas.load("monetago/activity.avsc")
TRANSACTIONS = schemas.load("stedi/transactions.avsc")
# What neither provider has yet: decimals, booleans, lists of lists.
LEDGER = parse(
    "test",
    json.dumps(
        {
            "type": "record",
            "name": "Ledger",
            "namespace": "connector.test",
            "fields": [
                {"name": "id", "type": "string"},
                {
                    "name": "amount",
                    "type": [
                        "null",
                        {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
                    ],
                    "default": None,
                },
                {"name": "open", "type": ["null", "boolean"], "default": None},
                {
                    "name": "rows",
                    "type": [
                        "null",
                        {"type": "array", "items": {"type": "array", "items": "long"}},
                    ],
                    "default": None,
                },
                {
                    "name": "strict",
                    "type": [
                        "null",
                        {
                            "type": "record",
                            "name": "Strict",
                            "fields": [{"name": "must", "type": "long"}],
                        },
                    ],
                    "default": None,
                },
                {
                    "name": "additional_properties",
                    "type": {"type": "map", "values": "string"},
                    "default": {},
                },
            ],
        }
    ),
)
KEYS = {
    ACTIVITY.name: "event_identification",
    TRANSACTIONS.name: "transactionId",
    LEDGER.name: "id",
}
EVENT = {
    "event_identification": "38b222e2-19d7-417f-b84b-a72da118287f",
    "event_date_time": "2021-03-29T11:01:43.000Z",
    "pool_identification": "POOL-1234",
    "submitter_batch_identification": "BATCH-1234",
    "batch_identification": "b56cfee7-1a0a-49ba-9260-aeff4fd537c7",
    "submitter_data_set_identification": "FIN-1234",
    "data_set_identification": "8ecef726-f12e-40b9-9722-8878a8d33bc5",
    "request_identifications": ["9ef2ee9c-a2b7-49bc-a5a9-ef65b4972eab"],
    "event_details": [
        {"service_name": "FING_duplicate_financing_check", "status": "DFIN"},
        {
            "service_name": "DDOC_duplicate_document_check",
            "registered_document_identification": "b1b44706-4fc6-4fb3-93de-0fb4846e9c84",
            "status": "EXCT",
        },
    ],
}


def encode(schema, raw):
    """
    Encode an item, and decode it with fastavro to the last byte.
    """
    encoder = StreamEncoder(schema, None)
    body = encoder.encode(raw)[10:]
    source = io.BytesIO(body)
    datum = fastavro.schemaless_reader(source, schema.parsed, None)
    assert len(body) == source.tell()
    return datum, body, encoder


def test_golden_event():
    """
    The event of the provider's page, byte by byte as the Avro specification says.
    """

    def text(value):
        return bytes([2 * len(value)]) + value.encode()

    def some(value):
        return b"\x02" + text(value)

    expected = b"".join(
        [
            text(EVENT["event_identification"]),
            bytes.fromhex("02" + "b097acda8f5e"),  # 1617015703000
            *(some(EVENT[name]) for name in list(EVENT)[2:7]),
            b"\x02\x02" + text(EVENT["request_identifications"][0]) + b"\x00",
            b"\x02\x04",
            some("FING_duplicate_financing_check") + some("DFIN") + b"\x00",
            some("DDOC_duplicate_document_check") + some("EXCT"),
            some("b1b44706-4fc6-4fb3-93de-0fb4846e9c84"),
            b"\x00",
            b"\x00",
        ]
    )

    assert expected == encode(ACTIVITY, EVENT)[1]


def test_a_known_event_has_no_extras():
    """
    Nothing of a documented event is left over, and nothing is counted.
    """
    datum, _, encoder = encode(ACTIVITY, EVENT)

    assert {} == datum["additional_properties"]
    assert datetime(2021, 3, 29, 11, 1, 43, tzinfo=UTC) == datum["event_date_time"]
    assert (Counter(), 0) == (encoder.misfits, encoder.unknown)


def test_absent_and_empty_lists_differ():
    """
    A list that the provider did not send is null, an empty one is empty.
    """
    datum, _, _ = encode(ACTIVITY, {"event_identification": "e", "event_details": []})

    assert (None, []) == (datum["request_identifications"], datum["event_details"])


def test_unknown_fields_are_kept_at_any_depth():
    """
    They stand under their JSON Pointer, odd names escaped, and are counted.
    """
    raw = {
        "event_identification": "e",
        "a/b~": Decimal("1.10"),
        "": None,
        "\ud800": 1,
        "additional_properties": {"x": 1},
        "event_details": [{}, {"new": [True]}],
    }

    datum, _, encoder = encode(ACTIVITY, raw)

    expected = {
        "/a~1b~0": "1.10",
        "/": "null",
        "/~2d800": "1",
        "/additional_properties": '{"x":1}',
        "/event_details/1/new": "[true]",
    }
    assert expected == datum["additional_properties"]
    assert (Counter(), 5) == (encoder.misfits, encoder.unknown)


def test_misfits_become_null_and_are_kept():
    """
    Of a value that does not fit, the nearest nullable field is null and the text is kept.
    """
    raw = {
        "transactionId": "t",
        "mode": 5,
        "status": "\ud800",
        "processedAt": "2025-04-02T21:30:15.8011Z",
        "artifacts": [{"sizeBytes": "12"}, {"sizeBytes": 3_000_000_000}],
        "businessIdentifiers": [{"name": "n"}, "no object"],
        "partnership": [],
        "x12": {"metadata": {"interchange": {"controlNumber": True}}},
    }

    datum, _, encoder = encode(TRANSACTIONS, raw)

    expected = {
        "/mode": "5",
        "/status": '"\\ud800"',
        "/processedAt": '"2025-04-02T21:30:15.8011Z"',
        "/artifacts/0/sizeBytes": '"12"',
        "/businessIdentifiers": '[{"name":"n"},"no object"]',
        "/partnership": "[]",
        "/x12/metadata/interchange/controlNumber": "true",
    }
    assert expected == datum["additional_properties"]
    assert [None, 3_000_000_000] == [each["sizeBytes"] for each in datum["artifacts"]]
    assert Counter(
        {
            "mode": 1,
            "status": 1,
            "processedAt": 1,
            "artifacts[].sizeBytes": 1,
            "businessIdentifiers": 1,
            "partnership": 1,
            "x12.metadata.interchange.controlNumber": 1,
        }
    ) == (encoder.misfits)


def test_an_inner_record_without_its_key_is_null():
    """
    A field that cannot be null takes its record with it, not the item.
    """
    datum, _, _ = encode(LEDGER, {"id": "i", "strict": {"must": "no", "x": 1}})

    assert datum["strict"] is None
    assert {"/strict": '{"must":"no","x":1}'} == datum["additional_properties"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([], "not_an_object"),
        (None, "not_an_object"),
        ({}, "missing_key"),
        ({"event_identification": None}, "missing_key"),
        ({"event_identification": 5}, "missing_key"),
        ({"event_identification": "\udfff"}, "missing_key"),
    ],
)
def test_what_cannot_be_a_record_is_rejected(raw, reason):
    """
    Only an item that is no object, or has no key, is a dead letter; the next one is fine.
    """
    encoder = StreamEncoder(ACTIVITY, None)
    with pytest.raises(RejectedRecordError) as caught:
        encoder.encode(raw)

    assert reason == caught.value.reason
    assert encoder.encode(EVENT) == StreamEncoder(ACTIVITY, None).encode(EVENT)


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "id", "type": "string"}],
        [{"name": "x", "type": ["string", "null"], "default": "a"}],
        [{"name": "x", "type": ["null", "double"], "default": None}],
        [{"name": "x", "type": ["null", "string", "long"], "default": None}],
        [{"name": "x", "type": ["null", "string"]}],
    ],
)
def test_schemas_that_would_lose_something_are_refused(fields):
    """
    No floats, no further unions, no record without additional_properties.
    """
    extras = {
        "name": "additional_properties",
        "type": {"type": "map", "values": "string"},
        "default": {},
    }
    whole = fields if fields[0]["name"] == "id" else [*fields, extras]
    schema = parse("t", json.dumps({"type": "record", "name": "T", "fields": whole}))
    with pytest.raises(ValueError, match="Implementation error"):
        compile_writer(schema.parsed, schema.named)


NUMBERS = st.integers(-(10**40), 10**40) | st.decimals(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec=None) | st.sampled_from("~/02"), max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


def fitting(kind, named):
    """
    Values that a type was made for, now and then something else, at every depth.
    """
    kind = named.get(kind, kind) if isinstance(kind, str) else kind
    match kind:
        case list():
            return st.none() | fitting(kind[1], named)
        case "string":
            good = st.text(max_size=8)
        case "long":
            good = st.integers(-(2**63), 2**63 - 1)
        case "boolean":
            good = st.booleans()
        case {"logicalType": "decimal"}:
            good = st.decimals(-(10**18), 10**18, places=18)
        case {"logicalType": "timestamp-millis"}:
            good = st.datetimes().map(lambda at: at.isoformat() + "Z")
        case {"type": "array"}:
            good = st.lists(fitting(kind["items"], named), max_size=3)
        case {"type": "record"}:
            good = items(kind, named)
    return good | good | good | ANYTHING


def items(record, named):
    """
    Objects with any of the fields of a record, and others beside.
    """
    fields = {
        each["name"]: fitting(each["type"], named)
        for each in record["fields"]
        if each["name"] != "additional_properties"
    }
    return st.builds(
        lambda known, other: {**other, **known},
        st.fixed_dictionaries({}, optional=fields),
        st.dictionaries(NAMES, ANYTHING, max_size=2),
    )


def pointer(path, name):
    """
    Append one name to a JSON Pointer, in the words of the documentation.
    """
    escaped = str(name).replace("~", "~0").replace("/", "~1")
    spelt = (f"~2{ord(c):04x}" if "\ud800" <= c <= "\udfff" else c for c in escaped)
    return f"{path}/{''.join(spelt)}"


def assert_kept(value, datum, path, extras):
    """
    Walk an item beside what was decoded: each value is typed and equal, or in the extras.
    """
    if path in extras:
        assert value == json.loads(extras.pop(path).encode())
        assert datum is None
    elif isinstance(value, dict):
        for name, each in value.items():
            known = name in datum and (name, path) != ("additional_properties", "")
            assert_kept(each, datum[name] if known else None, pointer(path, name), extras)
    elif isinstance(value, list):
        assert len(value) == len(datum)
        for index, each in enumerate(value):
            assert_kept(each, datum[index], pointer(path, index), extras)
    elif isinstance(datum, datetime):
        assert datum == datetime.fromisoformat(value).replace(tzinfo=UTC)
    elif isinstance(datum, Decimal) and isinstance(value, str):
        assert datum == Decimal(value)
    else:
        assert value == datum
        assert isinstance(value, bool) == isinstance(datum, bool)


@settings(max_examples=200)
@given(st.data(), st.sampled_from([ACTIVITY, TRANSACTIONS, LEDGER]), st.text(max_size=5))
def test_nothing_of_any_item_is_lost(data, schema, key):
    """
    For any item with a key, every value is in its field, exactly, or in the extras.
    """
    raw = data.draw(items(schema.parsed, schema.named)) | {KEYS[schema.name]: key}

    datum, body, encoder = encode(schema, raw)

    extras = dict(datum["additional_properties"])
    assert len(extras) == encoder.unknown + encoder.misfits.total()
    assert_kept(raw, datum, "", extras)
    assert {} == extras
    again = io.BytesIO()
    fastavro.schemaless_writer(again, schema.parsed, datum)
    assert body == again.getvalue()
