# SPDX-License-Identifier: Apache-2.0
"""
Keeps the book on one topic and judges it: pure, fed with headers and places.

A run is what one shard wrote in one epoch; within it the numbers go up by one (DESIGN
section 4). A reader sees a topic that goes on growing, partition by partition, so it
reads in two passes::

    partition 0  ├──── first pass ────┤mark├── second ──┤mark'
    partition 1  ├── first pass ──┤mark├──── second ────┤mark'

The marks of one pass are not taken at one instant: partition 1 may hold number 11 behind
its mark, while partition 0 holds 12 before its own. What is judged is therefore every
number up to the highest of the first pass. Whatever was committed when that pass ended
lies before the second marks, so the second pass fills in all that is really there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from connector.verify.ids import Ids, Occurrence
from connector.verify.run import SHOWN, Retention, Run, RunKey, note
from connector.verify.verdict import Place, TopicVerdict

# More digits than any counter of ours reaches; a foreign header may hold anything.
_SEQ = re.compile(rb"(0|[1-9][0-9]{0,5})\.([1-9][0-9]{0,15})\.([1-9][0-9]{0,15})")

Headers = Sequence[tuple[str, bytes | None]]


class Book:
    """
    All that is known about one topic. Close it, because its ids may lie in files.

    Args:
        topic: Full name.
        compacted: Whether older values of a key are removed.
        retention: What was removed; None if nothing was.
        ids: Where the ids go.
    """

    def __init__(
        self,
        topic: str,
        *,
        compacted: bool = False,
        retention: Retention | None = None,
        ids: Ids | None = None,
    ) -> None:
        self._topic = topic
        self._compacted = compacted
        self._retention = retention
        self._ids = ids or Ids()
        self._runs: dict[RunKey, Run] = {}
        self._second_pass = False
        self._records = 0
        self._foreign = 0
        self._foreign_at: list[Place] = []

    def add(self, partition: int, offset: int, timestamp: int, headers: Headers) -> None:
        """
        Take in one message; those of one partition in ascending order.

        Args:
            partition: Its partition.
            offset: Its offset.
            timestamp: Its timestamp: the time of the poll, ms since 1970.
            headers: Its headers; of equal names the last one counts.
        """
        named = dict(headers)
        identifier = named.get("id")
        run, number = self._find_run(named.get("seq") or b"")
        if self._second_pass and (run is None or number > run.top):
            return
        self._records += 1
        if run is None or not identifier:
            self._foreign += 1
            note(self._foreign_at, Place(partition, offset))
        if run is None:
            return
        if identifier:
            # Two sources may share a topic of dead letters and the ids of their items.
            scope = named.get("__connect.errors.topic") or b""
            mark = run.index * 2 + ("backfill" in named)
            self._ids.add(scope + b"\0" + identifier, mark, partition, offset)
        run.take(number, Place(partition, offset), timestamp)

    def begin_second_pass(self) -> bool:
        """
        End the first pass.

        Returns:
            Whether a second one is needed: without a missing number it would tell nothing.
        """
        self._second_pass = True
        for run in self._runs.values():
            run.top = run.numbers.highest
        return not self._compacted and any(run.has_gap() for run in self._runs.values())

    def judge(self) -> TopicVerdict:
        """
        Say what was found.
        """
        again, again_at = self._judge_ids()
        runs = [self._runs[key] for key in sorted(self._runs)]
        return TopicVerdict(
            topic=self._topic,
            records=self._records,
            runs=tuple(run.judge(compacted=self._compacted) for run in runs),
            foreign=self._foreign,
            foreign_at=tuple(self._foreign_at),
            read_again=again,
            read_again_at=tuple(again_at),
            judged_from=self._retention.until if self._retention else None,
            cut=tuple(sorted(self._retention.cut)) if self._retention else (),
            unseen=tuple(self._unseen()),
            memory=self._ids.memory + sum(run.numbers.size for run in runs),
            disk=self._ids.disk,
        )

    def close(self) -> None:
        """
        Remove the temporary files.
        """
        self._ids.close()

    def _find_run(self, seq: bytes) -> tuple[Run | None, int]:
        parts = _SEQ.fullmatch(seq)
        if parts is None:
            return None, 0
        key = RunKey(int(parts[1]), int(parts[2]))
        run = self._runs.get(key)
        if run is None and not self._second_pass:
            run = self._runs[key] = Run(len(self._runs), key, self._retention)
        return run, int(parts[3])

    def _judge_ids(self) -> tuple[int, list[tuple[Place, ...]]]:
        runs = sorted(self._runs.values(), key=lambda run: run.index)
        again = 0
        again_at: list[tuple[Place, ...]] = []
        for found in self._ids.repeated():
            places = tuple(Place(each.partition, each.offset) for each in found[:SHOWN])
            guilty = _twice_in(found, runs)
            if guilty is None:
                again += 1
                note(again_at, places)
            else:
                guilty.ids_twice += 1
                note(guilty.ids_twice_at, places)
        return again, again_at

    def _unseen(self) -> Iterable[str]:
        yield (
            "what was lost before it got a number, and what was lost behind the highest "
            "number of a shard"
        )
        if self._compacted:
            yield (
                "missing numbers: the topic is compacted, so older values of a key are "
                "removed on purpose"
            )
        if self._retention:
            yield "what retention has removed, and gaps from before that point"


def _twice_in(found: Sequence[Occurrence], runs: Sequence[Run]) -> Run | None:
    """
    Find the run to blame for an id that occurs more than once; None if it was read again.

    Read again means: in a backfill, or in a run that began when the other had ended: a
    later epoch of the shard, or another shard after a reshard. Two that wrote side by side
    both believed to own the source partition.
    """
    plain = Counter(each.mark >> 1 for each in found if not each.mark & 1)
    for index, times in plain.items():
        if times > 1:
            return runs[index]
    for one, other in combinations(sorted(plain), 2):
        if runs[one].side_by_side(runs[other]):
            return runs[other]
    return None
