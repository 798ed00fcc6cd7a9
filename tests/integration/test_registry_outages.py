# SPDX-License-Identifier: Apache-2.0
"""
A registry that is away, one that holds another schema, and none at all.
"""

from __future__ import annotations

import json
import urllib.request

from tests.integration.accounts import now_ms
from tests.integration.checker import judge
from tests.integration.offered import ByEventTime, from_ledger
from tests.integration.seeing import Decoder, read_all
from tests.integration.values import same_item
from tests.integration.workers import command, settings


def _monetago(simulator):
    return {name: v for name, v in simulator.env().items() if name.startswith("MONETAGO_")}


def test_registry_down_at_start_and_in_the_middle(sandbox, simulator, worker, watch):
    """
    At the start a worker waits for the registry, visibly; later it does without it.
    """
    environment = settings(sandbox, _monetago(simulator), monetago_poll_interval="200ms")
    topic = f"{environment['CONNECTOR_TOPIC_PREFIX']}monetago.activity"
    simulator.offer("monetago", count=20, event_time=now_ms() - 200_000, spread=10)
    reader = watch(topic)
    sandbox.registry.stop()
    try:
        running = worker(environment).start()
        running.wait_until(
            lambda w: "registry" in w.get("/ready")[1].lower() and w.get("/ready")[0] == 503, 30
        )
        assert running.live()
        assert any("registry" in why.lower() for why in running.status()["not_ready"])
        assert simulator.requests("monetago")["counts"] == {}
    finally:
        sandbox.registry.start()
    running.wait_ready(60)
    reader.wait_for(lambda seen: len(seen) >= 20, 60)

    sandbox.registry.stop()
    try:
        simulator.offer("monetago", count=20)
        reader.wait_for(lambda seen: len(seen) >= 40, 30)
        # Its own shards want nothing of the registry: no other worker could do better.
        running.wait_ready()
        assert running.metric("connector_shard_restarts_total") == 0
    finally:
        sandbox.registry.start()
    assert running.stop() == 0
    verdict = judge(
        from_ledger(simulator.ledger("monetago")),
        read_all(sandbox.bootstrap_servers, topic),
        topic=topic,
        running=reader.stop(),
        order=ByEventTime(0),
        check_value=same_item(Decoder(sandbox.registry_url)),
    )
    assert verdict.delivered == 40
    assert verdict.ok, verdict


def test_incompatible_schema_is_told_before_anything_is_written(sandbox, simulator, worker):
    """
    Where a subject holds a schema that ours may not follow, nothing is polled or written,
    and the worker names the subject and the remedy.
    """
    environment = settings(sandbox, _monetago(simulator))
    topic = f"{environment['CONNECTOR_TOPIC_PREFIX']}monetago.activity"
    subject = f"{topic}-value"
    other = {
        "type": "record",
        "name": "Activity",
        "namespace": "connector.monetago",
        "fields": [{"name": "event_identification", "type": "long"}],
    }
    request = urllib.request.Request(
        f"{sandbox.registry_url}/subjects/{subject}/versions",
        json.dumps({"schema": json.dumps(other)}).encode(),
        {"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=15):
        pass
    simulator.offer("monetago", count=5)
    running = worker(environment).start()
    running.wait_until(lambda w: subject in w.get("/ready")[1], 40, "it is told")
    code, text = running.get("/ready")
    assert code == 503
    assert "CONNECTOR_TOPIC_PREFIX" in text
    assert running.live()
    assert simulator.requests("monetago")["counts"] == {}
    assert running.stop() == 0
    assert read_all(sandbox.bootstrap_servers, topic) == []

    checked = command(environment, "check")
    assert (2, True) == (checked.returncode, f"{subject} is incompatible" in checked.stdout)


def test_without_a_registry_records_tell_their_own_schema(sandbox, simulator, worker):
    """
    With ``none`` a record begins with the mark and the fingerprint of Avro's single-object
    encoding, and ``tail`` reads it back.
    """
    environment = settings(
        sandbox,
        _monetago(simulator),
        connector_schema_registry_url="none",
        monetago_poll_interval="200ms",
    )
    topic = f"{environment['CONNECTOR_TOPIC_PREFIX']}monetago.activity"
    simulator.configure("monetago", unknown_fields=True)
    simulator.offer("monetago", count=10, event_time=now_ms() - 200_000, spread=10)
    running = worker(environment).start()
    running.wait_until(
        lambda w: w.metric("connector_records_produced_total", topic=topic) >= 10, 60
    )
    assert running.stop() == 0
    seen = read_all(sandbox.bootstrap_servers, topic)
    verdict = judge(from_ledger(simulator.ledger("monetago")), seen, topic=topic)
    assert verdict.ok, verdict
    assert {b"\xc3\x01"} == {each.value[:2] for each in seen}
    assert len({each.value[2:10] for each in seen}) == 1

    shown = command(environment, "tail", "monetago/activity", "--from-beginning", "--no-follow")
    assert shown.returncode == 0, shown.stderr
    values = [json.loads(line)["value"] for line in shown.stdout.splitlines()]
    by_id = {value["event_identification"]: value for value in values}
    for line in simulator.ledger("monetago"):
        value = by_id.pop(line["id"])
        assert value["batch_identification"] == line["body"]["batch_identification"]
        extras = value["additional_properties"]
        assert extras["/simulated_number"] == "9007199254740993.123456789012345678"
    assert by_id == {}
