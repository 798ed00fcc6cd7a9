# SPDX-License-Identifier: Apache-2.0
"""
Schemas in a real registry (Apicurio's Confluent API), and a foreign reader of our bytes.
"""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime

import pytest

from connector.encoding import json, schemas
from connector.encoding.decoding import Decoder
from connector.encoding.registry import Encoding, Registry, ensure
from connector.encoding.registry_http import RefusedSchemaError
from connector.errors import OutsideError, StoppedError
from connector.sandbox import Registry as RealRegistry

ACTIVITY = schemas.load("monetago/activity.avsc")
ITEM = {
    "event_identification": "38b222e2-19d7-417f-b84b-a72da118287f",
    "event_date_time": "2021-03-29T11:01:43.003Z",
    "event_details": [{"service_name": "FING_duplicate_financing_check", "new": 0.5}],
}


@pytest.fixture(scope="module")
def url():
    """
    A real registry for this module.
    """
    with RealRegistry() as registry:
        yield registry.url


@pytest.fixture
async def registry(url):
    """
    A client of it.
    """
    async with Registry(url) as client:
        yield client


def variant(change):
    """
    Make another version of the activity schema.
    """
    source = copy.deepcopy(ACTIVITY.source)
    change(source)
    return schemas.parse("variant", json.dumps(source))


async def test_six_workers_register_one_version(url, registry):
    """
    Whoever loses the race finds what the winner registered.
    """
    clients = [Registry(url) for _ in range(6)]
    done = await asyncio.gather(*(ensure(each, "race", ACTIVITY) for each in clients))
    for each in clients:
        await each.aclose()

    assert len({each.schema_id for each in done}) == 1
    assert await registry.versions("race-value") == (1,)
    assert await registry.compatibility("race-value") == "FULL_TRANSITIVE"


async def test_the_text_is_kept_as_it_was_given(registry):
    """
    Docs and logical types included: readers need the one, stream processors the other.
    """
    done = await ensure(registry, "kept", ACTIVITY)
    text = await registry.schema(done.schema_id)

    assert text is not None
    assert json.loads(text.encode()) == ACTIVITY.source
    assert await registry.schema(1 << 20) is None


async def test_a_schema_is_found_whatever_its_white_space(registry):
    """
    Also when somebody else registered it, prettily and with keys in another order.
    """
    import json as pretty

    text = pretty.dumps(dict(reversed(ACTIVITY.source.items())), indent=2)
    schema_id = await registry.register("pretty-value", text)
    found = await registry.lookup("pretty-value", ACTIVITY.text)

    assert found is not None
    assert found.schema_id == schema_id
    assert not (await ensure(registry, "pretty", ACTIVITY)).created


async def test_a_field_can_be_added_and_a_type_not_changed(registry):
    """
    The registry takes the one and refuses the other with 409, ours stops before it.
    """
    added = variant(
        lambda source: source["fields"].insert(
            1, {"name": "new", "type": ["null", "string"], "default": None, "doc": "New."}
        )
    )
    other = variant(lambda source: source["fields"][0].update(type="long"))
    await ensure(registry, "evolving", ACTIVITY)

    assert (await ensure(registry, "evolving", added)).version == 2
    assert not (await registry.check("evolving-value", other.text)).compatible
    with pytest.raises(RefusedSchemaError):
        await registry.register("evolving-value", other.text)
    with pytest.raises(StoppedError, match="event_identification: type changed"):
        await ensure(registry, "evolving", other)


async def test_a_logical_type_is_guarded_by_us_alone(registry):
    """
    The registry would take a time that became a number; we do not.
    """
    plain = variant(lambda source: source["fields"][1].update(type=["null", "long"]))
    await ensure(registry, "logical", ACTIVITY)

    assert (await registry.check("logical-value", plain.text)).compatible
    with pytest.raises(StoppedError, match="logicalType changed"):
        await ensure(registry, "logical", plain)


async def test_an_invalid_schema_is_refused(registry):
    """
    422 is no reason to ask again.
    """
    with pytest.raises(RefusedSchemaError) as caught:
        await registry.register("invalid-value", '{"type":"nonsense"}')

    assert caught.value.status == 422


async def test_looking_up_finds_what_was_registered(url):
    """
    REGISTER=false: an error with the remedy first, the id once somebody registered.
    """
    async with Registry(url) as registry:
        looking = Encoding(registry, register=False)
        with pytest.raises(StoppedError, match="connector schemas register"):
            await looking.prepare("looked-up", ACTIVITY.path)
        done = await ensure(registry, "looked-up", ACTIVITY)

        assert (await looking.prepare("looked-up", ACTIVITY.path)).schema_id == done.schema_id


async def test_a_base_url_without_its_path_is_no_registry(url):
    """
    Apicurio's own API answers on the same port.
    """
    async with Registry(url.removesuffix("/apis/ccompat/v7")) as registry:
        with pytest.raises(OutsideError, match="/apis/ccompat/v7"):
            await registry.subjects()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of authlib, imported by the client
async def test_confluents_deserializer_reads_our_bytes(url, registry):
    """
    A foreign reader finds the schema by the id and reads every field, the kept ones too.
    """
    encoder = await Encoding(registry).prepare("foreign", ACTIVITY.path)
    value = encoder.encode(json.loads(json.dumps(ITEM)))

    def read():
        from confluent_kafka.schema_registry import SchemaRegistryClient
        from confluent_kafka.schema_registry.avro import AvroDeserializer
        from confluent_kafka.serialization import (
            MessageField,
            SerializationContext,
        )

        with SchemaRegistryClient({"url": url}) as client:
            deserialize = AvroDeserializer(client)
            return deserialize(value, SerializationContext("foreign", MessageField.VALUE))

    found = await asyncio.to_thread(read)

    assert found["event_identification"] == ITEM["event_identification"]
    assert found["event_date_time"] == datetime(2021, 3, 29, 11, 1, 43, 3000, tzinfo=UTC)
    assert found["additional_properties"] == {"/event_details/0/new": "0.5"}
    assert (await Decoder(registry).decode(value)).datum == found
