# SPDX-License-Identifier: Apache-2.0
"""
Schemas in a registry: found, registered once, and every failure with its remedy.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from connector.config.registry import RegistrySettings
from connector.config.values import Secret
from connector.encoding import schemas
from connector.encoding.avro import StreamEncoder
from connector.encoding.decoding import Decoder
from connector.encoding.registry import Encoding, Registry, ensure, open_encoding
from connector.encoding.registry_http import RefusedSchemaError
from connector.errors import (
    CredentialsError,
    OutsideError,
    RejectedRecordError,
    StoppedError,
)
from tests.unit.fake_registry import FakeRegistry

ACTIVITY = schemas.load("monetago/activity.avsc")
SUBJECT = "monetago.activity-value"


@pytest.fixture
async def fake():
    """
    A registry that fails as told.
    """
    return FakeRegistry()


@pytest.fixture
async def registry(fake):
    """
    A client of it.
    """
    async with fake.running() as url, Registry(url) as client:
        yield client


async def test_a_missing_schema_is_registered_once(fake, registry):
    """
    It gets the rule FULL_TRANSITIVE; doing it again changes nothing.
    """
    first = await ensure(registry, "monetago.activity", ACTIVITY)
    again = await ensure(registry, "monetago.activity", ACTIVITY)

    assert (first.schema_id, first.version, first.created) == (1, 1, True)
    assert (again.schema_id, again.version, again.created) == (1, 1, False)
    assert fake.rules == {SUBJECT: "FULL_TRANSITIVE"}
    assert fake.subjects == {SUBJECT: [ACTIVITY.text]}


async def test_a_rule_of_the_operator_is_kept(fake, registry):
    """
    Whoever set another rule had a reason.
    """
    fake.rules[SUBJECT] = "BACKWARD"
    await ensure(registry, "monetago.activity", ACTIVITY)

    assert fake.rules == {SUBJECT: "BACKWARD"}


@pytest.mark.parametrize("normalizes", [True, False])
async def test_white_space_makes_no_other_schema(fake, registry, normalizes):
    """
    A schema that somebody registered prettily is found, if the registry helps or not.
    """
    fake.normalizes = normalizes
    pretty = json.dumps(dict(reversed(json.loads(ACTIVITY.text).items())), indent=2)
    fake.subjects[SUBJECT] = ['"string"', pretty]

    found = await registry.lookup(SUBJECT, ACTIVITY.text)

    assert found is not None
    assert found.version == 2


async def test_workers_that_start_together_register_once(fake, registry):
    """
    A 409 of a race is asked again (notes 26).
    """
    fake.fail("POST", f"/subjects/{SUBJECT}/versions", 409)
    fake.fail("PUT", "/config", 409)

    done = await asyncio.gather(
        *(ensure(registry, "monetago.activity", ACTIVITY) for _ in range(4))
    )

    assert {each.schema_id for each in done} == {1}
    assert fake.subjects == {SUBJECT: [ACTIVITY.text]}


async def test_an_incompatible_schema_stops(fake, registry):
    """
    Our own comparison finds what no registry does: here a logical type is gone.
    """
    old = json.loads(ACTIVITY.text)
    old["fields"][1]["type"] = ["null", "long"]
    fake.subjects[SUBJECT] = [json.dumps(old)]

    with pytest.raises(StoppedError, match="event_date_time: logicalType changed") as caught:
        await ensure(registry, "monetago.activity", ACTIVITY)

    assert "CONNECTOR_TOPIC_PREFIX" in caught.value.remedy
    assert len(fake.subjects[SUBJECT]) == 1


async def test_a_409_that_the_registry_means_stops(fake, registry):
    """
    Where the registry finds the schema incompatible, it is not asked again.
    """
    old = json.loads(ACTIVITY.text)
    old["fields"].pop(2)
    fake.subjects[SUBJECT] = [json.dumps(old)]
    fake.compatible = False
    fake.fail("POST", f"/subjects/{SUBJECT}/versions", 409)

    with pytest.raises(RefusedSchemaError, match="connector schemas check"):
        await ensure(registry, "monetago.activity", ACTIVITY)


async def test_somebody_elses_subject_stops(fake, registry):
    """
    Protobuf, or no record, under our name.
    """
    fake.subjects[SUBJECT] = ['"string"']

    with pytest.raises(StoppedError, match="no Avro record"):
        await ensure(registry, "monetago.activity", ACTIVITY)


async def test_422_stops(fake, registry):
    """
    The registry calls the schema invalid.
    """
    fake.fail("POST", f"/subjects/{SUBJECT}/versions", 422, code=42201)

    with pytest.raises(RefusedSchemaError):
        await ensure(registry, "monetago.activity", ACTIVITY)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_failing_registry_is_outside(fake, registry, status):
    """
    To be tried again.
    """
    fake.fail("GET", "/subjects", status, body="<html>")

    with pytest.raises(OutsideError, match=str(status)):
        await registry.subjects()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "<html>"),
        (200, "{}"),
        (404, "nothing here"),
        (404, "{}"),
        (404, '{"error_code": 404}'),
        (302, ""),
        (418, "{}"),
        (200, ""),
    ],
)
async def test_what_is_no_registry_names_the_setting(fake, registry, status, body):
    """
    A proxy, a login page, or a base URL without its path.
    """
    fake.fail("GET", "/subjects", status, body=body)

    with pytest.raises(OutsideError, match="CONNECTOR_SCHEMA_REGISTRY_URL"):
        await registry.subjects()


async def test_an_endless_answer_is_cut(fake, registry):
    """
    More than 4 MiB is no answer of a registry (invariant 8).
    """
    fake.fail("GET", "/subjects", 200, body='["' + "x" * (5 << 20) + '"]')

    with pytest.raises(OutsideError, match="too large"):
        await registry.subjects()


async def test_an_unreachable_registry_is_outside():
    """
    The error names the setting and nothing of its value.
    """
    async with Registry("http://user:hunter2@127.0.0.1:1") as registry:
        with pytest.raises(OutsideError, match="CONNECTOR_SCHEMA_REGISTRY_URL") as caught:
            await registry.subjects()

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_name_the_settings(fake, registry, status):
    """
    Retried slowly by whoever called; the text says where to look.
    """
    fake.fail("GET", "/subjects", status)

    with pytest.raises(CredentialsError, match="CONNECTOR_SCHEMA_REGISTRY_PASSWORD"):
        await registry.subjects()


async def test_basic_authentication_reads_secrets_at_each_call(fake):
    """
    A rotated password is used by the next call.
    """
    passwords = iter(["old", "new"])
    async with (
        fake.running() as url,
        Registry(url, username=lambda: "me", password=lambda: next(passwords)) as client,
    ):
        await client.subjects()
        await client.subjects()

    logins = [headers["Authorization"] for _, _, headers in fake.seen]
    assert logins == ["Basic bWU6b2xk", "Basic bWU6bmV3"]


async def test_looking_up_only_names_the_command(fake, registry):
    """
    With REGISTER=false nothing is written, and the error says what to run.
    """
    encoding = Encoding(registry, register=False)

    with pytest.raises(StoppedError, match="connector schemas register"):
        await encoding.prepare("monetago.activity", ACTIVITY.path)

    assert fake.subjects == {}
    fake.subjects[SUBJECT] = [ACTIVITY.text]
    assert (await encoding.prepare("monetago.activity", ACTIVITY.path)).schema_id == 1


async def test_ids_are_asked_for_once(fake, registry):
    """
    A second encoder of a topic needs no registry.
    """
    encoding = Encoding(registry)
    await encoding.prepare("monetago.activity", ACTIVITY.path)
    calls = len(fake.seen)
    await encoding.prepare("monetago.activity", ACTIVITY.path)

    assert len(fake.seen) == calls


async def test_settings_make_the_encoding(fake):
    """
    The URL, the login and the rule to register come from the settings; none means none.
    """
    secret = {"username": Secret("me"), "password": Secret("pw")}
    async with fake.running() as url:
        encoding = await open_encoding(RegistrySettings(url=url, register=True, **secret))
        encoder = await encoding.prepare("monetago.activity", ACTIVITY.path)
        await encoding.aclose()
    none = await open_encoding(RegistrySettings(url="none"))
    plain = await none.prepare("monetago.activity", ACTIVITY.path)
    await none.aclose()

    item = {"event_identification": "e"}
    assert encoder.encode(item)[:5] == b"\x00\x00\x00\x00\x01"
    assert plain.encode(item)[:10] == b"\xc3\x01" + ACTIVITY.fingerprint
    assert "Authorization" in fake.seen[0][2]


async def test_a_decoder_reads_what_was_written(fake, registry):
    """
    By the registry's id, asked once; times are exact.
    """
    encoding = Encoding(registry)
    encoder = await encoding.prepare("monetago.activity", ACTIVITY.path)
    value = encoder.encode(
        {"event_identification": "e", "event_date_time": "2021-03-29T11:01:43.003Z"}
    )
    decoder = Decoder(registry)
    await decoder.decode(value)
    calls = len(fake.seen)
    name, datum = await decoder.decode(value)

    assert name == "connector.monetago.Activity"
    assert datum["event_date_time"] == datetime(2021, 3, 29, 11, 1, 43, 3000, tzinfo=UTC)
    assert len(fake.seen) == calls


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"\x00\x00\x00\x00\x63x",
        b"\xc3\x01nonsense-",
        b"\xc3\x01" + ACTIVITY.fingerprint,
    ],
)
async def test_what_is_not_ours_is_not_decoded(registry, value):
    """
    No framing, an id or a fingerprint that nobody knows, a body that ends too early.
    """
    with pytest.raises(RejectedRecordError):
        await Decoder(registry).decode(value)


async def test_bytes_left_over_are_not_decoded():
    """
    A value that its schema does not explain to the last byte was written with another.
    """
    value = StreamEncoder(ACTIVITY, None).encode({"event_identification": "e"})

    with pytest.raises(RejectedRecordError, match="not_decodable"):
        await Decoder(None).decode(value + b"\x00")
