# SPDX-License-Identifier: Apache-2.0
"""
The oracle of the integration tests: what a provider offered against what a topic holds.

It shares no code with the connector, so that one mistake cannot hide itself: a reader of
its own, a decoder of its own (fastavro, schema ids asked from the registry over HTTP),
and its own idea of what is right. It knows headers, keys and topics from the design.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right, insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.integration.offered import Offered, Order
from tests.integration.seeing import Seen, differences

_SEQ = re.compile(r"(\d+)\.(\d+)\.([1-9]\d*)")


@dataclass
class Verdict:
    """
    What is wrong, by kind; each list holds texts that name the case.
    """

    delivered: int = 0
    dead_letters: int = 0
    missing: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    reordered: list[str] = field(default_factory=list)
    wrong_key: list[str] = field(default_factory=list)
    wrong_event_time: list[str] = field(default_factory=list)
    wrong_value: list[str] = field(default_factory=list)
    seq_missing: list[str] = field(default_factory=list)
    seq_repeated: list[str] = field(default_factory=list)
    seq_reordered: list[str] = field(default_factory=list)
    unnumbered: list[str] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    offset: list[str] = field(default_factory=list)

    def findings(self) -> dict[str, list[str]]:
        """
        Give the kinds of which there is something.
        """
        return {
            kind: value for kind, value in vars(self).items() if isinstance(value, list) and value
        }

    @property
    def ok(self) -> bool:
        return not self.findings()

    def __str__(self) -> str:
        """
        Give a text for the message of an assertion.
        """
        lines = [f"{self.delivered} records, {self.dead_letters} dead letters delivered"]
        for kind, texts in self.findings().items():
            more = f" … and {len(texts) - 10} more" if len(texts) > 10 else ""
            lines.append(f"{kind} ({len(texts)}): {'; '.join(texts[:10])}{more}")
        return "\n".join(lines)


OffsetCheck = Callable[[Sequence[Seen]], Iterable[str]]
ValueCheck = Callable[[Offered, Seen], Iterable[str]]


def judge(
    offered: Sequence[Offered],
    late: Sequence[Seen],
    *,
    topic: str,
    dead_letters: str | None = None,
    running: Sequence[Seen] | None = None,
    order: Order | None = None,
    within: str = "key",
    check_value: ValueCheck | None = None,
    check_offset: OffsetCheck | None = None,
) -> Verdict:
    """
    Compare what a provider offered with what one late reader saw.

    Args:
        offered: The provider's ledger.
        late: All messages of the topic and of the dead letters, as ``read_all`` gives them.
        topic: The topic of the records.
        dead_letters: The topic of the dead letters; those of other topics are left out.
        running: What a ``RunningReader`` of the same topics saw; has to be the same.
        order: The promised order; None promises none.
        within: ``key`` or ``partition``: where that order holds.
        check_value: Says what is wrong with the value of a record.
        check_offset: Given the records in the order of their numbers, says why the stored
            offset is not that of the newest committed record.
    """
    verdict = Verdict()
    records = [seen for seen in late if seen.topic == topic]
    rejected = [
        seen
        for seen in late
        if seen.topic == dead_letters and seen.headers.get("__connect.errors.topic") == topic
    ]
    matched = _judge_records(verdict, offered, records, check_value)
    _judge_dead_letters(verdict, offered, rejected)
    if order is not None:
        _judge_order(verdict, matched, order, within)
    judge_numbers(verdict, records)
    if dead_letters is not None:
        judge_numbers(verdict, [seen for seen in late if seen.topic == dead_letters])
    if running is not None:
        verdict.vanished += differences(running, late)
    if check_offset is not None:
        verdict.offset += check_offset(sorted(records, key=_number))
    return verdict


def _judge_records(
    verdict: Verdict,
    offered: Sequence[Offered],
    records: Sequence[Seen],
    check_value: ValueCheck | None,
) -> list[tuple[Seen, Offered]]:
    """
    Judge the set of ids, and each record by itself.

    Returns:
        The first record of each offered event, in the order of reading.
    """
    wanted = {each.id: each for each in offered if not each.bad and each.id is not None}
    places: dict[str, list[Seen]] = defaultdict(list)
    matched = []
    for seen in records:
        event = wanted.get(seen.id or "")
        if event is None:
            verdict.unknown.append(f"{seen.id} at {seen.place}")
            continue
        if seen.id not in places:
            matched.append((seen, event))
        places[str(seen.id)].append(seen)
        if seen.key != event.key:
            verdict.wrong_key.append(f"{seen.id} at {seen.place}")
        told = seen.headers.get("event_time")
        if told != (None if event.event_time is None else str(event.event_time)):
            verdict.wrong_event_time.append(f"{seen.id} at {seen.place}: {told}")
        if check_value is not None:
            verdict.wrong_value += check_value(event, seen)
    verdict.missing += [name for name in wanted if name not in places]
    verdict.repeated += [
        f"{name} at {', '.join(seen.place for seen in several)}"
        for name, several in places.items()
        if len(several) > 1
    ]
    verdict.delivered = len(places)
    return matched


def _judge_dead_letters(
    verdict: Verdict, offered: Sequence[Offered], rejected: Sequence[Seen]
) -> None:
    """
    Judge the dead letters: they hold the bad items as they were sent, each once.
    """
    wanted = Counter(_canonical(each.body) for each in offered if each.bad)
    found: Counter[str] = Counter()
    for seen in rejected:
        try:
            item = _canonical(json.loads(seen.value or b""))
        except ValueError:
            verdict.unknown.append(f"dead letter at {seen.place} is no JSON")
            continue
        found[item] += 1
        if item not in wanted:
            verdict.unknown.append(f"dead letter at {seen.place}")
        elif found[item] > wanted[item]:
            verdict.repeated.append(f"dead letter at {seen.place}")
    for each in offered:
        if each.bad and not found[_canonical(each.body)]:
            verdict.missing.append(f"dead letter of event {each.position}")
    verdict.dead_letters = sum((found & wanted).values())


def _canonical(item: Any) -> str:
    return json.dumps(item, sort_keys=True)


def _judge_order(
    verdict: Verdict, matched: Sequence[tuple[Seen, Offered]], order: Order, within: str
) -> None:
    """
    Find records that stand behind one that should have come later.
    """
    groups: dict[Any, list[tuple[Seen, Offered]]] = defaultdict(list)
    for seen, event in matched:
        groups[seen.partition if within == "partition" else seen.key].append((seen, event))
    for group in groups.values():
        # Usually one partition; more only if somebody added partitions.
        group.sort(key=lambda pair: (pair[0].partition, pair[0].offset))
        before: list[tuple[int, int, Offered]] = []
        for seen, event in group:
            rank = order.rank(event)
            overtaken = before[bisect_right(before, rank, key=lambda each: each[0]) :]
            for _, _, earlier in overtaken:
                if not order.excused(earlier, event):
                    verdict.reordered.append(f"{event.id} at {seen.place} behind {earlier.id}")
                    break
            insort(before, (rank, event.position, event), key=lambda each: each[:2])


def judge_numbers(verdict: Verdict, seen: Sequence[Seen]) -> None:
    """
    Judge the numbers of one topic: from 1, without a gap, none twice, ascending.
    """
    numbers: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    newest: dict[tuple[int, int, int], int] = defaultdict(int)
    for each in sorted(seen, key=lambda s: (s.partition, s.offset)):
        epoch, shard, number = _number(each)
        if not number:
            verdict.unnumbered.append(each.place)
            continue
        numbers[shard, epoch][number] += 1
        if number < newest[each.partition, shard, epoch]:
            verdict.seq_reordered.append(f"{shard}.{epoch}.{number} at {each.place}")
        newest[each.partition, shard, epoch] = number
    topic = seen[0].topic if seen else ""
    for (shard, epoch), counted in numbers.items():
        verdict.seq_missing += [
            f"{topic} {shard}.{epoch}.{number}"
            for number in range(1, max(counted) + 1)
            if number not in counted
        ]
        verdict.seq_repeated += [
            f"{topic} {shard}.{epoch}.{number}" for number, times in counted.items() if times > 1
        ]


def _number(seen: Seen) -> tuple[int, int, int]:
    """
    Read epoch, shard and number from the header ``seq``; zeros if it is unusable.
    """
    parts = _SEQ.fullmatch(seen.headers.get("seq", ""))
    return (int(parts[2]), int(parts[1]), int(parts[3])) if parts else (0, 0, 0)
