# SPDX-License-Identifier: Apache-2.0
"""
What an operator does to stored offsets, and what happens to those who lose them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from click.testing import CliRunner
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from connector.cli import connector
from connector.kafka.hashing import shard_of
from connector.sandbox import Sandbox
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.scene import MONETAGO, STEDI, MakeWorker, Scene, owned, watched
from tests.integration.seeing import Seen, read_all, read_offsets
from tests.integration.workers import Worker, command, eventually

ACTIVITY, TRANSACTIONS = MONETAGO.source_partition, STEDI.source_partition


@pytest.fixture
def scene(sandbox: Sandbox, simulator: SimulatorProcess) -> Iterator[Scene]:
    """
    Offer 20 events of each provider: of the last minutes, so that a start may divide them.
    """
    with watched(sandbox, simulator) as scene:
        for stream in scene.streams:
            simulator.offer(stream.provider, count=20, spread=570.0, event_time=_now_ms() - 600_000)
        yield scene


@pytest.fixture
def admin(sandbox: Sandbox) -> AdminClient:
    return AdminClient({"bootstrap.servers": sandbox.bootstrap_servers})


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def run_through(scene: Scene, one: Worker) -> Worker:
    """
    Let a worker write all that was offered, and stop it.
    """
    one.start()
    scene.wait_delivered()
    # The walk that found nothing more has moved the cursor, and is committed too.
    one.wait_until(lambda w: all(_caught_up(w, s) for s in (ACTIVITY, TRANSACTIONS)), 20.0)
    assert one.stop() == 0
    return one


def _caught_up(one: Worker, source_partition: str) -> bool:
    return bool(one.feed(source_partition).get("state") == "caught up")


def offsets(scene: Scene, *arguments: str, code: int = 0) -> str:
    """
    Run one ``connector offsets`` in this process, to save its start; give what it printed.
    """
    done = CliRunner().invoke(connector, ["offsets", *arguments], env=scene.environment)
    assert done.exit_code == code, done.output
    return done.output


def everything(scene: Scene) -> list[tuple[int, int]]:
    return [(s.partition, s.offset) for s in read_all(scene.bootstrap, scene.offsets_topic)]


def records(scene: Scene, topic: str) -> list[Seen]:
    return read_all(scene.bootstrap, scene.topic(topic))


def epochs(seen: Sequence[Seen]) -> set[int]:
    return {int(one.headers["seq"].split(".")[1]) for one in seen}


def verified(scene: Scene, code: int = 0) -> Any:
    done = command(scene.environment, "verify", "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def delete_topic(admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result(15)
    eventually(lambda: not exists(admin, topic), 15.0, "the topic is gone")


def exists(admin: AdminClient, topic: str) -> bool:
    return topic in admin.list_topics(timeout=15).topics


def test_offsets_are_not_changed_under_running_workers(scene: Scene, worker: MakeWorker) -> None:
    """
    While the group has members every change is refused, with the remedy; looking is free.
    """
    before = offsets(scene, "list", code=2)
    assert "There is no offsets topic" in before
    worker(scene.environment).start().wait_ready()
    scene.wait_delivered()

    for arguments in (
        ("set", ACTIVITY, "-1h"),
        ("reset", ACTIVITY),
        ("accept", ACTIVITY),
    ):
        text = offsets(scene, *arguments, code=1)
        assert "1 worker is a member" in text
        assert "stopped" in text
    assert ACTIVITY in offsets(scene, "list")
    rows = json.loads(offsets(scene, "list", "--output", "json"))
    assert [ACTIVITY, TRANSACTIONS] == [row["source_partition"] for row in rows]
    assert "token" in json.loads(offsets(scene, "get", TRANSACTIONS))


def test_wrong_words_change_nothing(scene: Scene, worker: MakeWorker) -> None:
    """
    Wrong usage is exit code 2 and says why; --dry-run shows and writes nothing.
    """
    run_through(scene, worker(scene.environment))
    before = everything(scene)

    for arguments, word in (
        (("set", "monetago/nothing", "-1h"), "no feed of these settings"),
        (("reset", "monetago/nothing"), "no feed of these settings"),
        (("set", ACTIVITY, "yesterday"), "neither JSON nor a start"),
        (("set", ACTIVITY, '{"after": '), "not JSON"),
        (("set", ACTIVITY, '{"token": "x"}'), "none of this feed"),
        (("set", TRANSACTIONS, '{"token": 1}'), "none of this feed"),
    ):
        assert word in offsets(scene, *arguments, code=2)
    assert "No offset is stored" in offsets(scene, "get", "monetago/nothing", code=1)
    assert "No offset is stored" in offsets(scene, "accept", "monetago/nothing", code=1)
    for arguments in (("set", ACTIVITY, "-1h"), ("reset", ACTIVITY)):
        assert "Nothing was changed" in offsets(scene, *arguments, "--dry-run")

    assert before == everything(scene)


def test_set_reads_again_from_there_in_a_new_epoch(scene: Scene, worker: MakeWorker) -> None:
    """
    After "set" to a time what lies behind it is written again, numbered in a new epoch;
    verify lists it as read again, and finds nothing wrong. A reset goes to the start.
    """
    one = run_through(scene, worker(scene.environment))
    first = records(scene, "monetago.activity")
    assert 20 == len(first)

    # Between two of the events, which lie 30 s apart.
    middle = (scene.offered(MONETAGO)[9].event_time or 0) + 15_000
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(middle // 1000))
    text = offsets(scene, "set", ACTIVITY, f"{at}.{middle % 1000:03d}Z")
    assert "new epoch" in text
    run_again(scene, one, "monetago.activity", 30)
    again = records(scene, "monetago.activity")
    twice = {s.id for s in again if [t.id for t in again].count(s.id) == 2}

    assert {event.id for event in scene.offered(MONETAGO)[10:]} == twice
    assert 2 == len(epochs(again))
    verdict = verified(scene)
    assert verdict["clean"]
    assert 10 == sum(topic["read_again"] for topic in verdict["topics"])

    offsets(scene, "reset", ACTIVITY)
    stored = read_offsets(scene.bootstrap, scene.offsets_topic)[ACTIVITY]
    offsets(scene, "reset", ACTIVITY)
    assert stored["offset"] is None
    run_again(scene, one, "monetago.activity", 50)
    assert verified(scene)["clean"]


def run_again(scene: Scene, one: Worker, topic: str, count: int) -> None:
    """
    Let a worker write until a topic holds so many records, and stop it.
    """
    one.start()
    name = scene.topic(topic)
    scene.reader.wait_for(lambda seen: sum(s.topic == name for s in seen) >= count, 30.0)
    one.wait_until(lambda w: _caught_up(w, ACTIVITY), 20.0)
    assert one.stop() == 0
    assert count == len(records(scene, topic))


def test_set_takes_what_get_gives_and_fences_zombies(scene: Scene, worker: MakeWorker) -> None:
    """
    JSON goes around unchanged, twice is as good as once, and a producer that was forgotten
    somewhere with the shard's id can commit nothing afterwards.
    """
    one = run_through(scene, worker(scene.environment))
    shard = shard_of(TRANSACTIONS, 8)
    stored = offsets(scene, "get", TRANSACTIONS).strip()
    zombie = Producer(
        {
            "bootstrap.servers": scene.bootstrap,
            "transactional.id": f"{scene.topic('c')}-{shard}",
        }
    )
    zombie.init_transactions(15)
    zombie.begin_transaction()
    zombie.produce(
        scene.offsets_topic, key=TRANSACTIONS, value=b'{"v":1,"offset":{}}', partition=shard
    )
    zombie.flush(15)

    offsets(scene, "set", TRANSACTIONS, stored)
    offsets(scene, "set", TRANSACTIONS, stored)
    # MonetaGo keeps ids beside its cursor: without them its overlap would be written again.
    offsets(scene, "set", ACTIVITY, offsets(scene, "get", ACTIVITY).strip())

    with pytest.raises(KafkaException) as caught:
        zombie.commit_transaction(15)
    assert caught.value.args[0].fatal()
    assert stored == offsets(scene, "get", TRANSACTIONS).strip()
    scene.simulator.offer("stedi", count=3)
    one.start()
    scene.wait_delivered()
    assert one.stop() == 0
    for stream in (STEDI, MONETAGO):
        seen = records(scene, f"{stream.provider}.{stream.name}")
        offered = sorted(str(each.id) for each in scene.offered(stream))
        assert offered == sorted(str(each.id) for each in seen)
    assert verified(scene)["clean"]


def test_other_settings_are_accepted_by_a_person_only(scene: Scene, worker: MakeWorker) -> None:
    """
    Another base URL may be another stream of records: the feed stops and names the choice,
    its neighbour goes on, and "accept" keeps the position.
    """
    run_through(scene, worker(scene.environment))
    url = scene.environment["STEDI_BASE_URL"]
    elsewhere = {**scene.environment, "STEDI_BASE_URL": url.replace("127.0.0.1", "localhost")}
    one = worker(elsewhere).start()
    one.wait_until(lambda w: w.feed(TRANSACTIONS).get("state") == "stopped", 20.0)
    told = one.feed(TRANSACTIONS)
    assert f"connector offsets accept {TRANSACTIONS}" in told["remedy"]
    assert "localhost" not in json.dumps(told)
    one.wait_until(lambda w: _caught_up(w, ACTIVITY), 20.0)
    assert one.stop() == 0

    offsets(scene, "accept", TRANSACTIONS)
    scene.simulator.offer("stedi", count=3)
    one.start()
    scene.wait_delivered()
    assert one.stop() == 0

    assert 23 == len(records(scene, "stedi.transactions"))


def test_a_lost_offsets_topic_never_silently_starts_over(
    scene: Scene, worker: MakeWorker, admin: AdminClient
) -> None:
    """
    Deleted under a running worker it ends the worker, which does not create it anew;
    started again, no feed whose topic holds records begins before a person has chosen.
    """
    one = run_through(scene, worker(scene.environment))
    one.start().wait_ready()
    delete_topic(admin, scene.offsets_topic)
    # It looks every 10 s.
    assert one.wait(25.0) == 2
    assert "was deleted" in one.tail()
    assert not exists(admin, scene.offsets_topic)
    written = [len(read_all(scene.bootstrap, topic)) for topic in scene.data_topics]

    # The former worker counts as a member until its session expires: until then the topic
    # is not made anew, and the tries come further and further apart.
    one.start()
    for name in (ACTIVITY, TRANSACTIONS):
        one.wait_until(lambda w, name=name: w.feed(name).get("state") == "stopped", 60.0)
        assert f"connector offsets set {name}" in one.feed(name)["remedy"]
    assert one.stop() == 0
    assert written == [len(read_all(scene.bootstrap, topic)) for topic in scene.data_topics]

    offsets(scene, "reset", ACTIVITY)
    offsets(scene, "set", TRANSACTIONS, "2000-01-01T00:00:00Z")
    one.start()
    total = sum(written) + sum(len(scene.offered(stream)) for stream in scene.streams)
    scene.reader.wait_for(lambda seen: len(seen) >= total, 20.0)
    assert one.stop() == 0
    assert total == len(scene.reader.seen())
    assert verified(scene)["clean"]


def test_an_aborted_record_is_none(scene: Scene, worker: MakeWorker, admin: AdminClient) -> None:
    """
    A topic whose only transaction was aborted counts as empty for the first start.
    """
    one = worker({**scene.environment, "MONETAGO_BASE_URL": "http://127.0.0.1:1/v1"}).start()
    one.wait_until(lambda w: exists(admin, scene.topic("monetago.activity")), 20.0)
    one.kill()
    delete_topic(admin, scene.offsets_topic)
    aborting = Producer(
        {"bootstrap.servers": scene.bootstrap, "transactional.id": f"{scene.topic('other')}"}
    )
    aborting.init_transactions(15)
    for name in ("monetago.activity", "stedi.transactions"):
        aborting.begin_transaction()
        aborting.produce(scene.topic(name), b"aborted", partition=0)
        aborting.flush(15)
        aborting.abort_transaction(15)

    one = worker(scene.environment).start()
    scene.wait_delivered()
    assert one.stop() == 0


def test_an_open_transaction_in_the_offsets_delays_only_its_shard(
    scene: Scene, worker: MakeWorker
) -> None:
    """
    While somebody's transaction is open in a shard's partition that shard waits, its
    neighbours work; once it is aborted the shard goes on.
    """
    one = run_through(scene, worker(scene.environment))
    waiting, neighbour = shard_of(TRANSACTIONS, 8), shard_of(ACTIVITY, 8)
    assert waiting != neighbour
    foreign = Producer(
        {"bootstrap.servers": scene.bootstrap, "transactional.id": f"{scene.topic('foreign')}"}
    )
    foreign.init_transactions(15)
    foreign.begin_transaction()
    foreign.produce(
        scene.offsets_topic, key="foreign/x", value=b'{"v":1,"offset":1}', partition=waiting
    )
    foreign.flush(15)
    for stream in scene.streams:
        scene.simulator.offer(stream.provider, count=3)

    one.start()
    one.wait_until(lambda w: _caught_up(w, ACTIVITY), 20.0)
    name = scene.topic("monetago.activity")
    scene.reader.wait_for(lambda seen: sum(s.topic == name for s in seen) >= 23, 20.0)
    eventually(lambda: owned(one) == set(range(8)) - {waiting}, 20.0, "the others run")
    stages = {shard["shard"]: shard["stage"] for shard in one.status()["shards"]}
    assert "replaying" == stages[waiting]
    assert not one.ready()
    foreign.abort_transaction(15)
    scene.wait_delivered()
    one.wait_ready()
    # And a stop does not wait for such a transaction.
    assert one.stop() == 0


def test_an_offsets_topic_that_loses_offsets_is_refused(
    scene: Scene, worker: MakeWorker, admin: AdminClient
) -> None:
    """
    With another cleanup policy than compact a worker does not start, and names the remedy.
    """
    run_through(scene, worker(scene.environment))
    resource = ConfigResource(
        ResourceType.TOPIC,
        scene.offsets_topic,
        incremental_configs=[
            ConfigEntry(
                "cleanup.policy",
                "delete",
                incremental_operation=AlterConfigOpType.SET,
            )
        ],
    )
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(15)

    one = worker(scene.environment).start()

    assert one.wait(20.0) == 2
    assert "it must be compact" in one.tail()
    assert "--add-config cleanup.policy=compact" in one.tail()


def test_added_partitions_stop_the_worker(
    scene: Scene, worker: MakeWorker, admin: AdminClient
) -> None:
    """
    Partitions that somebody adds to the offsets topic end a running worker, and the next.
    """
    scene.environment["CONNECTOR_KAFKA_TOPIC_METADATA_REFRESH_INTERVAL_MS"] = "500"
    one = worker(scene.environment).start()
    scene.wait_delivered()
    admin.create_partitions([NewPartitions(scene.offsets_topic, 9)])[scene.offsets_topic].result(15)

    assert one.wait(20.0) == 2
    assert "more partitions than when this worker started" in one.tail()
    one.start()
    assert one.wait(20.0) == 2
    assert "written for 8 shards" in one.tail()
