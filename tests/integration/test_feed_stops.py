# SPDX-License-Identifier: Apache-2.0
"""
Feeds that must not go on: they say why, write nothing, and lose nothing.
"""

from __future__ import annotations

import pytest

from connector.sandbox.simulators.stedi import StediOptions
from tests.integration.accounts import Account, environment_of, now_ms
from tests.integration.checker import judge
from tests.integration.farm import offered_by
from tests.integration.offered import AsOffered
from tests.integration.seeing import read_all
from tests.integration.workers import command, eventually

DAY_MS = 86_400_000


def test_circle_of_tokens_shows_and_writes_nothing_twice(sandbox, farm, worker, watch):
    """
    While tokens with items go in a circle the feed says so and writes nothing; afterwards
    it goes on where it stood, and nothing is lost or repeated.
    """
    simulators = farm.add(stedi=StediOptions(hold_back=0))
    stedi = simulators.stedi
    stedi.offer(event_time=now_ms() - DAY_MS, count=30, spread=3600)
    one = Account(
        "stedi",
        "circle",
        "transactions",
        simulators,
        {"start": "-2d", "poll_interval": "200ms", "page_size": "10"},
    )
    environment = environment_of(sandbox, [one])
    reader = watch(one.topic(environment))
    running = worker(environment).start()
    reader.wait_for(lambda seen: len(seen) >= 30, 60)
    stedi.configure({"paging": "cycle"})
    stedi.offer(count=40)
    running.wait_until(
        lambda w: w.metric("connector_retries_total", cause="token_cycle") >= 2, 30, "it is told"
    )
    feed = running.feed(one.partition)
    assert feed["state"] == "retrying"
    assert "circle" in feed["error"]
    running.wait_ready()
    stedi.configure({"paging": "fresh"})
    wanted = {offered.id for offered in offered_by(simulators, "stedi")}
    reader.wait_for(lambda seen: wanted <= {each.id for each in seen}, 60)
    assert running.stop() == 0
    verdict = judge(
        offered_by(simulators, "stedi"),
        read_all(sandbox.bootstrap_servers, one.topic(environment)),
        topic=one.topic(environment),
        running=reader.stop(),
        order=AsOffered(),
    )
    assert verdict.ok, verdict


@pytest.mark.parametrize("change", ["mode", "base_url"])
def test_another_stream_of_records_waits_for_a_word(sandbox, farm, worker, change):
    """
    A key of another kind, or another base URL, stops the feed before it writes; ``offsets
    accept`` lets it go on from where it stood.
    """
    simulators = farm.add(stedi=StediOptions(hold_back=0))
    stedi = simulators.stedi
    stedi.offer(event_time=now_ms() - DAY_MS, count=5)
    changes = {"start": "-2d", "poll_interval": "200ms"}
    one = Account("stedi", "keys", "transactions", simulators, changes)
    environment = environment_of(sandbox, [one])
    topic = one.topic(environment)
    running = worker(environment).start()
    running.wait_until(lambda w: one.produced(w) == 5, 60, "the first five")
    if change == "mode":
        stedi.configure({"mode": "production"})
        stedi.offer(count=5)
    else:
        assert running.stop() == 0
        stedi.offer(count=5)
        other = environment["STEDI_KEYS_BASE_URL"].replace("127.0.0.1", "localhost")
        environment["STEDI_KEYS_BASE_URL"] = running.environment["STEDI_KEYS_BASE_URL"] = other
        running.start()
    feed = running.wait_until(
        lambda w: w.feed(one.partition).get("state") == "stopped" and w.feed(one.partition),
        60,
        "it stops",
    )
    assert f"connector offsets accept {one.partition}" in feed["remedy"]
    assert running.metric("connector_task_stopped", source=one.source) == 1
    # A stopped source is no reason to send the worker away.
    running.wait_ready()
    assert len(read_all(sandbox.bootstrap_servers, topic)) == 5

    refused = command(environment, "offsets", "accept", one.partition)
    assert refused.returncode != 0, refused.stdout
    assert running.stop() == 0
    accepted = eventually(
        lambda: (
            (done := command(environment, "offsets", "accept", one.partition)).returncode == 0
            and done
        ),
        30,
        "accept is taken once the group is empty",
    )
    assert accepted.returncode == 0
    running.start()
    running.wait_until(lambda w: one.produced(w) == 5, 60, "it goes on")
    assert running.stop() == 0
    verdict = judge(
        offered_by(simulators, "stedi"),
        read_all(sandbox.bootstrap_servers, topic),
        topic=topic,
        order=AsOffered(),
    )
    assert verdict.ok, verdict
