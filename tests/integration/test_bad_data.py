# SPDX-License-Identifier: Apache-2.0
"""
Bad answers and bad items, end to end: nothing is lost, nothing is skipped in silence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping

import pytest

from connector.sandbox.simulators.faults import Fault
from connector.sandbox.simulators.stedi import StediOptions
from tests.integration.accounts import Account, environment_of, now_ms
from tests.integration.checker import judge
from tests.integration.farm import Farm, offered_by
from tests.integration.offered import ByEventTime, from_ledger
from tests.integration.seeing import Decoder, read_all
from tests.integration.values import same_item
from tests.integration.workers import Worker, account, settings

MEBIBYTE = 1024 * 1024

# An answer that is no page, and the label under which it is counted.
BAD_PAGES = {
    "cut_json": "bad_body",
    "cut_body": "bad_body",
    "wrong_encoding": "bad_body",
    "not_json": "bad_body",
    "error_envelope": "bad_envelope",
    "without_items": "bad_envelope",
}
HUGE_PAGES = {"oversized": "too_large", "gzip_bomb": "too_large"}
# The cap on a decoded body is 64 MiB: a worker that read on would need all of this.
HUGE = 512 * MEBIBYTE
# What a worker may need for the huge answers of two sources at once: for each the cap, and
# as much again for buffers that grow by doubling; a quarter for what the allocator keeps.
GROWTH = 320 * MEBIBYTE


def _accounts(farm: Farm) -> dict[tuple[str, str], Account]:
    """
    Make an account of each provider for each kind of bad page, so that none waits for
    another; the huge ones come one after the other, to one account of each provider.
    """
    accounts = {}
    for seed, kind in enumerate((*BAD_PAGES, "huge")):
        simulators = farm.add(seed=seed, stedi=StediOptions(hold_back=0))
        for provider, stream in (("monetago", "activity"), ("stedi", "transactions")):
            simulators.providers[provider].offer(count=20, event_time=now_ms() - 200_000, spread=10)
            changes = {"start": "-1d", "poll_interval": "200ms"}
            suffix = kind.replace("_", "")
            accounts[provider, kind] = Account(provider, suffix, stream, simulators, changes)
    return accounts


def _spoil(worker: Worker, affected: Mapping[Account, str], kinds: Mapping[str, str]) -> None:
    """
    Let the next page of accounts be bad, and wait until that is told and counted.

    Args:
        worker: Who reads them.
        affected: The kind of bad page by account.
        kinds: The label by kind.
    """
    for one, kind in affected.items():
        simulator = one.simulators.providers[one.provider]
        simulator.faults.add(Fault(kind=kind, size=HUGE))
        simulator.offer(count=3)
    told = {}

    def all_told(worker: Worker) -> bool:
        for feed in worker.status()["feeds"]:
            if feed["state"] == "retrying":
                told[feed["source_partition"]] = feed["error"]
        metrics = [
            worker.metric("connector_retries_total", source=one.source, cause=kinds[kind])
            for one, kind in affected.items()
        ]
        return min(metrics) >= 1 and told.keys() >= {one.partition for one in affected}

    worker.wait_until(all_told, 60, "each bad page is told and counted")


def test_bad_pages_are_tried_again_and_cost_no_memory(sandbox, farm, worker, watch):
    """
    Cut, wrongly encoded, huge, bombs, an error under HTTP 200, no list of items: each is
    told in status and metrics, tried again, and the events behind it come once.
    """
    accounts = _accounts(farm)
    environment = environment_of(sandbox, list(accounts.values()))
    reader = watch(*(one.topic(environment) for one in accounts.values()))
    running = worker(environment).start()
    reader.wait_for(lambda seen: len(seen) >= 20 * len(accounts), 60)

    spoiled = {one: kind for (_, kind), one in accounts.items() if kind != "huge"}
    _spoil(running, spoiled, BAD_PAGES)
    before = running.memory("VmHWM")
    huge = [one for (_, kind), one in accounts.items() if kind == "huge"]
    for kind in HUGE_PAGES:
        _spoil(running, dict.fromkeys(huge, kind), HUGE_PAGES)
    wanted = {
        offered.id
        for one in accounts.values()
        for offered in offered_by(one.simulators, one.provider)
    }
    reader.wait_for(lambda seen: wanted <= {each.id for each in seen}, 60)
    grown = running.memory("VmHWM") - before
    running.wait_ready()
    assert running.stop() == 0
    seen, decoder = reader.stop(), Decoder(sandbox.registry_url)
    for (provider, kind), one in accounts.items():
        topic = one.topic(environment)
        verdict = judge(
            offered_by(one.simulators, provider),
            read_all(sandbox.bootstrap_servers, topic),
            topic=topic,
            running=[each for each in seen if each.topic == topic],
            check_value=same_item(decoder),
        )
        assert verdict.delivered == (26 if kind == "huge" else 23)
        assert verdict.ok, verdict
        hits = one.simulators.providers[provider].faults.hits
        assert hits == Counter(HUGE_PAGES.keys() if kind == "huge" else [kind])
    assert grown < GROWTH, f"{grown / MEBIBYTE:.0f} MiB"


def test_bad_items_become_dead_letters_and_their_neighbours_go_on(sandbox, simulator, worker):
    """
    Without an id, without an object, too large for the topic: dead letters with the reason,
    once each. A value of a wrong type is kept as it came. The neighbours are records.
    """
    offer = simulator.offer
    at = now_ms() - 200_000
    environment = settings(sandbox, simulator.env(), monetago_poll_interval="200ms")
    environment["CONNECTOR_SOURCES"] = "monetago"
    prefix = environment["CONNECTOR_TOPIC_PREFIX"]
    topic, dead_letters = f"{prefix}monetago.activity", f"{prefix}c.dead-letters"
    offer("monetago", count=5, event_time=at, spread=1)
    offer("monetago", count=2, event_time=at + 100, without=["event_identification"])
    offer("monetago", event_time=at + 150, changes={"event_identification": 17})
    offer("monetago", event_time=at + 160, changes={"event_identification": ""})
    offer("monetago", event_time=at + 170, body='"not an object"')
    offer("monetago", event_time=at + 180, body="[1, 2]")
    # A record that a broker would refuse, and one that no dead letter can hold whole.
    offer("monetago", event_time=at + 200, changes={"pool_identification": "x" * 1_200_000})
    offer("monetago", event_time=at + 201, changes={"pool_identification": "y" * 9_000_000})
    # Wrong types, and a number with more digits than a float keeps.
    offer("monetago", event_time=at + 300, changes={"batch_identification": {"a": [1]}})
    offer("monetago", event_time=at + 301, changes={"event_details": "none"})
    offer("monetago", event_time=at + 302, changes={"request_identifications": [1, None]})
    offer("monetago", count=5, event_time=at + 400, spread=1)
    offered = from_ledger(simulator.ledger("monetago"))

    running = worker(environment).start()
    running.wait_until(
        lambda w: (
            w.metric("connector_records_produced_total", topic=topic) >= 13
            and w.metric("connector_records_produced_total", topic=dead_letters) >= 8
        ),
        60,
        "13 records and 8 dead letters",
    )
    # All of it is read again and again, being younger than the overlap.
    polled = now_ms() + 1000
    running.wait_until(lambda w: w.feed("monetago/activity")["last_poll_ms"] > polled, 30)
    feed, metrics = running.feed("monetago/activity"), running.metrics()
    assert (13, 8, None) == (feed["records"], feed["dead_letters"], feed["error"])
    reasons = {
        name.partition('reason="')[2].partition('"')[0]: value
        for name, value in metrics.items()
        if name.startswith("connector_records_rejected_total{")
    }
    assert {"missing_id": 2, "invalid_id": 2, "not_an_object": 2, "too_large": 2} == reasons
    misfits = [n for n in metrics if n.startswith("connector_field_misfits_total{")]
    assert len(misfits) == 3
    assert running.stop() == 0

    late = read_all(sandbox.bootstrap_servers, topic, dead_letters)
    letters = [seen for seen in late if seen.topic == dead_letters]
    assert sorted(seen.headers["__connect.errors.exception.message"] for seen in letters) == sorted(
        reason for reason, count in reasons.items() for _ in range(int(count))
    )
    # The largest is a stub that tells what it stood for.
    (stub,) = (json.loads(seen.value) for seen in letters if b'"stub"' in (seen.value or b""))
    (whole,) = (each for each in offered if len(json.dumps(each.body)) > 8 * MEBIBYTE)
    text = json.dumps(whole.body, sort_keys=True, separators=(",", ":"))
    assert stub["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert (len(text), text[:9]) == (stub["size"], '{"batch_i')
    assert stub["first"].startswith('{"event_identification":"')
    bad = {None, *(e.id for e in offered if len(json.dumps(e.body)) > MEBIBYTE)}
    offered = [
        dataclasses.replace(
            each,
            bad=each.id in bad or not each.id,
            body=stub if each.position == whole.position else each.body,
        )
        for each in offered
    ]
    verdict = judge(
        offered,
        late,
        topic=topic,
        dead_letters=dead_letters,
        order=ByEventTime(at),
        check_value=same_item(Decoder(sandbox.registry_url)),
    )
    assert (13, 8) == (verdict.delivered, verdict.dead_letters)
    assert verdict.ok, verdict


@pytest.mark.parametrize("scope", ["CONNECTOR_ERRORS", "MONETAGO_STRICT_ERRORS"])
def test_a_stream_that_must_not_skip_stops_alone(sandbox, simulator, worker, scope):
    """
    With ``stop`` a bad item stops its stream in front of it, visibly; Stedi goes on.
    """
    environment = settings(
        sandbox,
        account(simulator.env(), "monetago", "strict", start="-1d", poll_interval="200ms"),
        stedi_start="-1d",
        stedi_poll_interval="200ms",
        connector_sources="monetago:strict,stedi",
    )
    simulator.configure("stedi", hold_back=0)
    environment |= {n: v for n, v in simulator.env().items() if n.startswith("STEDI_")}
    environment[scope] = "stop"
    prefix = environment["CONNECTOR_TOPIC_PREFIX"]
    strict, other = f"{prefix}monetago-strict.activity", f"{prefix}stedi.transactions"
    letters = f"{prefix}c.dead-letters"
    at = now_ms() - 200_000
    simulator.offer("monetago", count=5, event_time=at)
    running = worker(environment).start()
    produced = "connector_records_produced_total"
    running.wait_until(lambda w: w.metric(produced, topic=strict) == 5, 60, "five events")
    simulator.offer("monetago", event_time=at + 1000, without=["event_identification"])
    simulator.offer("monetago", count=3, event_time=at + 2000)
    running.wait_until(
        lambda w: w.metric("connector_task_stopped", source="monetago:strict") == 1, 30, "it stops"
    )
    feed = running.feed("monetago:strict/activity")
    assert feed["state"] == "stopped"
    assert "missing_id" in feed["error"]
    assert "ERRORS=dead-letter" in feed["remedy"]
    simulator.offer("stedi", count=5)
    running.wait_until(lambda w: w.metric(produced, topic=other) == 5, 30, "Stedi goes on")
    assert running.metric("connector_task_stopped", source="stedi") == 0
    running.wait_ready()
    assert running.stop() == 0
    assert len(read_all(sandbox.bootstrap_servers, strict)) == 5
    assert read_all(sandbox.bootstrap_servers, letters) == []

    # An operator lets it pass: nothing was lost meanwhile.
    running.environment[scope] = "dead-letter"
    running.start()
    running.wait_until(lambda w: w.metric(produced, topic=strict) == 3, 60, "the rest")
    assert running.stop() == 0
    verdict = judge(
        from_ledger(simulator.ledger("monetago")),
        read_all(sandbox.bootstrap_servers, strict, letters),
        topic=strict,
        dead_letters=letters,
    )
    assert (8, 1) == (verdict.delivered, verdict.dead_letters)
    assert verdict.ok, verdict
