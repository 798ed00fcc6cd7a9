# SPDX-License-Identifier: Apache-2.0
"""
Every shard has exactly one owner at the end, whatever happens to the workers.
"""

from __future__ import annotations

import time
from pathlib import Path

from connector.sandbox import Sandbox
from connector.sandbox.simulators.runner import SimulatorProcess
from tests.integration.scene import MakeWorker, owned, restarted, wait_shared, watched
from tests.integration.workers import eventually

HANGING = Path(__file__).with_name("hanging.py")
# The transactions of a worker that vanished end after this long, and readers wait for it.
TRANSACTION_SECONDS = 15.0


def test_a_worker_joins_and_leaves_under_load(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker
) -> None:
    """
    Workers that are killed and asked to go, in turn, hand everything to each other, the
    guest to the one that stays and the other way round.
    """
    with watched(sandbox, simulator) as scene:
        scene.come(rate=60.0)
        pair = [worker(scene.environment).start().wait_ready(), worker(scene.environment)]
        pair[1].start()
        wait_shared(pair)
        for goes, kill in ((1, True), (0, False), (0, True)):
            scene.wait_more(10)
            if kill:
                pair[goes].kill()
            else:
                assert pair[goes].stop() == 0
            wait_shared([pair[1 - goes]])
            scene.wait_more(10)
            pair[goes].start()
            wait_shared(pair)
        scene.quiet()
        scene.wait_delivered()
        assert [0, 0] == [one.stop() for one in pair]
        scene.assert_exact()


def test_a_frozen_worker_takes_back_only_what_it_is_given(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker
) -> None:
    """
    SIGSTOP in the middle of transactions for longer than a session: a zombie wakes up
    beside the new owner, commits nothing, and nobody fences anybody for ever.
    """
    with watched(sandbox, simulator) as scene:
        scene.come(rate=60.0)
        pair = [worker(scene.environment).start(), worker(scene.environment).start()]
        wait_shared(pair)
        for turn in range(2):
            # A backlog, so that it is frozen in a transaction rather than between two; no
            # older than the overlap, or MonetaGo's feed would rightly have passed it.
            for stream in scene.streams:
                simulator.offer(
                    stream.provider, count=3000, spread=240.0, event_time=_minutes_ago(6)
                )
            scene.wait_more(100)
            frozen, other = pair[turn], pair[1 - turn]
            lost = len(frozen.events("shards_lost"))
            frozen.suspend()
            wait_shared([other])
            before = restarted(other)
            frozen.resume()
            wait_shared(pair)
            assert len(frozen.events("shards_lost")) > lost
            assert restarted(other) - before <= 8
        scene.wait_more(50)
        settled = [restarted(one) for one in pair]
        scene.wait_more(50)
        assert settled == [restarted(one) for one in pair]
        scene.quiet()
        scene.wait_delivered()
        assert [0, 0] == [one.stop() for one in pair]
        scene.assert_exact()


def test_hung_workers_lose_their_shards_and_come_back(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker, tmp_path: Path
) -> None:
    """
    A worker whose polling thread hangs, one whose event loop hangs, and one that is frozen
    for longer than a transaction may take, lose their shards to a fourth; when they come
    back every shard has exactly one owner.
    """
    with watched(
        sandbox,
        simulator,
        connector_kafka_session_timeout_ms="3000",
        connector_kafka_max_poll_interval_ms="6000",
    ) as scene:
        scene.come(rate=30.0)
        hung, switches = [], []
        for name in ("group", "loop"):
            folder = tmp_path / name
            folder.mkdir()
            one = worker(scene.environment)
            one.program = (str(HANGING), str(folder))
            hung.append(one.start())
            switches.append(folder / name)
        frozen, healthy = worker(scene.environment).start(), worker(scene.environment).start()
        everybody = [*hung, frozen, healthy]
        wait_shared(everybody)
        for switch in switches:
            switch.touch()
        frozen.suspend()
        began = time.monotonic()
        eventually(lambda: owned(healthy) == set(range(8)), 40.0, "all shards at the healthy one")
        moved = time.monotonic() - began
        scene.wait_more(20)
        eventually(lambda: time.monotonic() - began > TRANSACTION_SECONDS + 1, 20.0)
        for switch in switches:
            switch.unlink()
        frozen.resume()
        wait_shared(everybody)
        scene.wait_more(20)
        scene.quiet()
        scene.wait_delivered()
        assert [0] * 4 == [one.stop() for one in everybody]
        scene.assert_exact()
        # The loop counts as hung after 10 s; then the interval, a session, and some air.
        assert moved < 10 + 6 + 3 + 5


def test_one_shard_has_an_active_worker_and_a_standby(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker
) -> None:
    """
    CONNECTOR_SHARDS=1, the simplest form. Within 3 s of a stop, and within 15 s of a kill
    with the sessions that a user has, the standby polls.
    """
    with watched(
        sandbox, simulator, connector_shards="1", connector_kafka_session_timeout_ms=None
    ) as scene:
        scene.come(rate=30.0)
        pair = [worker(scene.environment).start(), worker(scene.environment).start()]
        wait_shared(pair, shards=1, all_serve=False)
        eventually(lambda: all(one.ready() for one in pair), 10.0, "a standby is ready too")

        def fail_over(*, kill: bool) -> float:
            active = next(one for one in pair if owned(one))
            standby = next(one for one in pair if one is not active)
            scene.wait_more(10)
            began = time.monotonic()
            if kill:
                active.kill()
            else:
                assert active.stop() == 0
            eventually(lambda: owned(standby) == {0}, 20.0, "the standby serves", every=0.02)
            taken = time.monotonic() - began
            scene.wait_more(5)
            active.start().wait_ready()
            wait_shared(pair, shards=1, all_serve=False)
            return taken

        assert fail_over(kill=False) < 3.0
        assert fail_over(kill=True) < 15.0
        scene.quiet()
        scene.wait_delivered()
        assert [0, 0] == [one.stop() for one in pair]
        scene.assert_exact()


def test_a_stop_under_load_is_clean(
    sandbox: Sandbox, simulator: SimulatorProcess, worker: MakeWorker
) -> None:
    """
    SIGTERM in the middle of a backlog: exit code 0 well within the drain budget, no open
    transaction is left behind, and what was not committed is read by the next worker.
    """
    with watched(sandbox, simulator) as scene:
        for stream in scene.streams:
            simulator.offer(
                stream.provider, count=8_000, spread=3600.0, event_time=_minutes_ago(120)
            )
        scene.come(rate=60.0)
        one = worker(scene.environment)
        for _ in range(2):
            one.start()
            one.wait_until(lambda w: w.events("transaction_committed"), 30.0, "commits")
            began = time.monotonic()
            assert one.stop() == 0
            assert time.monotonic() - began < 5.0
            # An open transaction would hold a reader back.
            scene.reader.wait_for(lambda _seen: True, 1.0)
        one.start()
        scene.quiet()
        scene.wait_delivered(60.0)
        assert one.stop() == 0
        scene.assert_exact()


def _minutes_ago(minutes: float) -> int:
    return int((time.time() - minutes * 60) * 1000)
