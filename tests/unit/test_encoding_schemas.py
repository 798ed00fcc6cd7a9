# SPDX-License-Identifier: Apache-2.0
"""
The shipped schemas, their evolution, and what is frozen once it was released.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from connector.encoding import evolution, json, schemas
from connector.encoding.avro import StreamEncoder, prefix, unframe
from connector.errors import RejectedRecordError

ACTIVITY = schemas.load("monetago/activity.avsc")
KEYS = {
    "connector.monetago.Activity": "event_identification",
    "connector.stedi.Transactions": "transactionId",
}


def changed(change):
    """
    Make a version of the activity schema.
    """
    source = copy.deepcopy(ACTIVITY.source)
    change(source, {each["name"]: each for each in source["fields"]})
    return schemas.parse("changed", json.dumps(source))


def test_shipped_schemas_can_be_released():
    """
    Every field has a doc, and all released versions read each other.
    """
    assert evolution.problems() == []


def test_shipped_schemas_are_the_expected_ones():
    """
    Full names are fixed: connector.<provider>.<Stream>.
    """
    names = {each.path: each.name for each in schemas.shipped()}

    assert names == {
        "core/progress.avsc": "connector.core.Progress",
        "monetago/activity.avsc": "connector.monetago.Activity",
        "stedi/transactions.avsc": "connector.stedi.Transactions",
    }


def test_names_are_unique():
    """
    Two schemas never define one full name, so that code can be generated from all.
    """
    names = [name for each in schemas.shipped() for name in each.named]

    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("schema", schemas.shipped(), ids=lambda each: each.path)
def test_only_keys_are_required(schema):
    """
    Of a provider's fields all but the natural key are nullable, and there are no floats.
    """
    if schema.name not in KEYS:
        return
    *fields, extras = schema.parsed["fields"]
    required = [each["name"] for each in fields if not isinstance(each["type"], list)]

    assert required == [KEYS[schema.name]]
    assert extras["name"] == "additional_properties"
    assert '"double"' not in schema.text
    assert '"float"' not in schema.text


def test_fields_are_the_providers():
    """
    The documented example of an event names exactly these fields.
    """
    assert [each["name"] for each in ACTIVITY.parsed["fields"]] == [
        "event_identification",
        "event_date_time",
        "pool_identification",
        "submitter_batch_identification",
        "batch_identification",
        "submitter_data_set_identification",
        "data_set_identification",
        "request_identifications",
        "event_details",
        "additional_properties",
    ]


def test_fingerprint_is_the_specifications():
    """
    The Avro project's own test data: the schema "int" has 0x7275d51a3f395c8f.
    """
    from fastavro.schema import fingerprint, to_parsing_canonical_form

    found = bytes.fromhex(fingerprint(to_parsing_canonical_form("int"), "CRC-64-AVRO"))

    assert found == (0x7275D51A3F395C8F).to_bytes(8, "little")


def test_framings():
    """
    Confluent's wire format and single-object encoding, and what is neither.
    """
    assert prefix(ACTIVITY, 258) == b"\x00\x00\x00\x01\x02"
    assert unframe(b"\x00\x00\x00\x01\x02body") == (258, None, b"body")
    assert unframe(prefix(ACTIVITY, None) + b"body") == (None, ACTIVITY.fingerprint, b"body")
    for value in (b"", b"\x00\x01", b"\xc3\x01short", b"json"):
        with pytest.raises(RejectedRecordError):
            unframe(value)


def test_records_of_our_own_are_strict():
    """
    Progress is written exactly as its schema says, or not at all.
    """
    encoder = StreamEncoder(schemas.load(schemas.PROGRESS), None)
    datum = {
        "source": "stedi",
        "stream": "transactions",
        "complete_until": None,
        "polled_at": 0,
        "lag_ms": None,
        "caught_up": True,
    }

    assert encoder.encode(datum)[10:] == b"\x0astedi\x18transactions\x00\x00\x00\x01"
    for wrong in ({**datum, "more": 1}, {**datum, "polled_at": "now"}, {"source": "stedi"}, None):
        with pytest.raises(RejectedRecordError, match="not_encodable"):
            encoder.encode(wrong)


def add_field(source, _fields):
    source["fields"].insert(1, {"name": "new", "type": ["null", "string"], "default": None})


def remove_field(source, fields):
    source["fields"].remove(fields["pool_identification"])


def change_doc(source, _fields):
    source["doc"] = "Other words."


@pytest.mark.parametrize("change", [add_field, remove_field, change_doc])
def test_what_may_follow(change):
    """
    Fields with a default come and go, docs change.
    """
    assert evolution.compare(ACTIVITY, changed(change)) == []
    assert evolution.compare(changed(change), ACTIVITY) == []


def drop_logical_type(_source, fields):
    fields["event_date_time"]["type"] = ["null", "long"]


def other_logical_type(_source, fields):
    fields["event_date_time"]["type"][1]["logicalType"] = "timestamp-micros"


def other_namespace(source, _fields):
    source["namespace"] = "connector.other"


def other_inner_name(_source, fields):
    fields["event_details"]["type"][1]["items"]["name"] = "Detail"


def remove_key(source, fields):
    source["fields"].remove(fields["event_identification"])


def add_required(source, _fields):
    source["fields"].append({"name": "new", "type": "string"})


def drop_default(_source, fields):
    del fields["pool_identification"]["default"]


def other_default(_source, fields):
    fields["additional_properties"]["default"] = {"a": "b"}


def not_nullable(_source, fields):
    fields["pool_identification"].update(type="string", default="")


def other_branch(_source, fields):
    fields["pool_identification"]["type"] = ["null", "string", "long"]


def swap_branches(_source, fields):
    fields["pool_identification"].update(type=["string", "null"], default="")


def other_items(_source, fields):
    fields["request_identifications"]["type"][1]["items"] = "bytes"


def inner_type(_source, fields):
    fields["event_details"]["type"][1]["items"]["fields"][0]["type"] = ["null", "bytes"]


@pytest.mark.parametrize(
    "change",
    [
        drop_logical_type,
        other_logical_type,
        other_namespace,
        other_inner_name,
        remove_key,
        add_required,
        drop_default,
        other_default,
        not_nullable,
        other_branch,
        swap_branches,
        other_items,
        inner_type,
    ],
)
def test_what_may_not_follow(change):
    """
    Whatever changes what a value means, or cannot be read both ways, in either order.
    """
    assert evolution.compare(ACTIVITY, changed(change)) != []
    assert evolution.compare(changed(change), ACTIVITY) != []


@pytest.mark.parametrize(("attribute", "value"), [("precision", 37), ("scale", 17)])
def test_a_decimal_keeps_its_digits(attribute, value):
    """
    Registries do not compare precision and scale; a changed scale moves the decimal point.
    """
    kind = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}

    def schema(decimal):
        field = {"name": "amount", "type": ["null", decimal], "default": None}
        return schemas.parse("t", json.dumps({"type": "record", "name": "T", "fields": [field]}))

    found = evolution.compare(schema(kind), schema({**kind, attribute: value}))

    assert found == [f"T.amount: {attribute} changed."]


def test_a_missing_doc_is_found():
    """
    At any depth, by the full name of its record.
    """

    def forget(_source, fields):
        del fields["event_details"]["type"][1]["items"]["fields"][1]["doc"]

    assert evolution.undocumented(changed(forget)) == ["connector.monetago.EventDetail.status"]


@pytest.fixture
def release(tmp_path, monkeypatch):
    """
    A copy of the schemas, of which release 1.0.0 was made.
    """
    folder = tmp_path / "schemas"
    shutil.copytree(schemas.directory(), folder)
    monkeypatch.setattr(schemas, "_PLACES", (folder,))
    clear()
    assert evolution.freeze("1.0.0")[-1] == "stedi/transactions.avsc"
    yield folder
    monkeypatch.undo()
    clear()


def clear():
    """
    Forget what was loaded from another place.
    """
    schemas.load.cache_clear()
    schemas.shipped.cache_clear()


def edit(file: Path, old: str, new: str):
    """
    Edit a schema, or what was released.
    """
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    clear()


def test_a_release_is_added_once(release):
    """
    Freezing again adds nothing; a changed doc is a new text, and may follow.
    """
    assert evolution.problems() == []
    assert evolution.freeze("1.0.1") == []
    edit(release / "monetago/activity.avsc", "Pool of financings", "The pool of financings")

    assert evolution.problems() == []
    assert evolution.freeze("1.1.0") == ["monetago/activity.avsc"]
    assert [each.release for each in evolution.released()["monetago/activity.avsc"]] == [
        "1.0.0",
        "1.1.0",
    ]


def test_released_text_is_frozen(release):
    """
    Editing what was released is found.
    """
    edit(release / "released.json", "Pool of financings", "The pool of financings")

    assert evolution.problems() == ["monetago/activity.avsc: the text of release 1.0.0 was edited."]


def test_a_release_that_breaks_readers_is_found(release):
    """
    Against every earlier release, and so is a schema that is gone.
    """
    edit(release / "monetago/activity.avsc", ', "logicalType": "timestamp-millis"', "")
    (release / "core/progress.avsc").unlink()
    clear()

    assert [each.partition(":")[0] for each in evolution.problems()] == [
        "core/progress.avsc",
        "monetago/activity.avsc, against release 1.0.0",
    ]
