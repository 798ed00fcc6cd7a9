# SPDX-License-Identifier: Apache-2.0
"""
Both feeds against every variant of what their providers leave undocumented.

One worker serves many accounts, each at a provider of another variant; it is killed in
the middle while events keep coming.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.ledger import Order as PageOrder
from connector.sandbox.simulators.monetago import MonetagoOptions
from connector.sandbox.simulators.server import Simulators
from connector.sandbox.simulators.stedi import StediOptions
from tests.integration.accounts import Account, Run, iso, now_ms, run_through
from tests.integration.checker import Verdict
from tests.integration.farm import Farm
from tests.integration.offered import ByEventTime
from tests.integration.scene import AsShown
from tests.integration.seeing import Seen

DAY_MS = 86_400_000
# The longest that a walk over all pages may take on a busy computer.
WALK_MS = 15_000


def _offer_history(simulators: Simulators, start: int, now: int, *, equal: bool) -> None:
    """
    Offer a past of three days whose events lie on every edge of a window.

    Args:
        simulators: Where to.
        start: The start of the feed, milliseconds since 1970.
        now: The time of this computer.
        equal: Whether events of the past share their times. In an order that changes with
            each request such a group can slip through a page edge unless it is read again.
    """
    offer = simulators.monetago.offer
    # The windows are one day, then two, from the start on.
    for edge in (start, start + DAY_MS, start + 3 * DAY_MS - 1):
        for at in (edge, edge + 1):
            offer(event_time=at, count=3 if equal else 1)
    offer(event_time=start + DAY_MS - 1)
    offer(event_time=start + 3_600_000, count=40, spread=2.5 * DAY_MS / 1000)
    # What is younger than the overlap is read again at each poll, in any order.
    recent = now - 300_000
    offer(event_time=recent, count=12)
    offer(event_time=recent + 1, count=12, spread=200.0)


def _variants() -> Iterator[tuple[str, MonetagoOptions]]:
    orders: tuple[PageOrder, ...] = ("ascending", "descending", "unstable")
    for order, after, before, cap in itertools.product(
        orders, (True, False), (True, False), (None, 7)
    ):
        name = f"{order[:3]}{'ie'[not after]}{'ie'[not before]}{cap or 'n'}"
        yield (
            name,
            MonetagoOptions(
                order=order,
                after_inclusive=after,
                before_inclusive=before,
                cap=cap,
                unknown_fields=after,
                links=before,
            ),
        )


def _offset_of_activity(
    offsets: Mapping[str, dict[str, Any]], one: Account, records: Sequence[Seen]
) -> Iterator[str]:
    """
    Say where the stored position, and the ids beside it, are not those of the records.
    """
    cursor = offsets[one.partition]["offset"]
    times = {seen.id or "": int(seen.headers["event_time"]) for seen in records}
    # A walk that brings nothing new may move the position without storing that at once.
    behind = max(times.values()) - cursor["position"]
    if not 0 <= behind <= WALK_MS:
        yield f"the position is {behind} ms behind the newest record"
    lowest = cursor["after"] // 60_000
    wanted = {
        blake2b(name.encode(), digest_size=16).digest()
        for name, at in times.items()
        if at // 60_000 >= lowest
    }
    stored = set()
    for key, value in offsets.items():
        before, _, minute = key.partition("#seen/")
        if before == one.partition and minute and int(minute.partition("/")[0]) >= lowest:
            data = base64.b64decode(value["part"])
            stored |= {data[start : start + 16] for start in range(0, len(data), 16)}
    if stored != wanted:
        yield f"{len(stored ^ wanted)} of {len(wanted)} ids that may come again are not stored"


def _monetago_accounts(farm: Farm) -> list[Account]:
    """
    Make an account for every order, both bounds, and a capped limit.
    """
    now = now_ms()
    start = now - 3 * DAY_MS - 7_200_000
    accounts = []
    for seed, (name, options) in enumerate(_variants()):
        simulators = farm.add(monetago=options, seed=seed)
        _offer_history(simulators, start, now, equal=options.order != "unstable")
        changes = {"start": iso(start), "poll_interval": "1s"}
        accounts.append(Account("monetago", name, "activity", simulators, changes))
    return accounts


def _judge_monetago(run: Run, one: Account) -> Verdict:
    options = one.simulators.monetago.options
    # On small pages only an ascending order promises one: those that descend are kept
    # as they come, and what slips through where equal times have no order comes later.
    loose = options.order != "ascending" and options.cap is not None
    return run.judge(
        one,
        order=None if loose else ByEventTime(run.began_ms, WALK_MS),
        check_offset=lambda records: _offset_of_activity(run.offsets, one, records),
    )


def _stedi_accounts(farm: Farm) -> list[Account]:
    """
    Make an account for ``items`` and ``item``, and a token that is new, absent, or the same.
    """
    now = now_ms()
    accounts = []
    for seed, (items, paging) in enumerate(
        itertools.product(("items", "item"), ("fresh", "absent", "same_when_empty"))
    ):
        options = StediOptions(
            items_field=items,
            paging=paging,
            hold_back=0.5,
            edifact=0.5,
            unknown_fields=items == "item",
        )
        simulators = farm.add(stedi=options, seed=seed)
        stedi = simulators.stedi
        stedi.offer(event_time=now - DAY_MS, count=50, spread=80_000)
        stedi.offer(event_time=now - 200_000, count=25)
        changes = {"start": "-2d", "poll_interval": "500ms", "page_size": "20"}
        name = f"{items}{paging.replace('_', '')}"
        accounts.append(Account("stedi", name, "transactions", simulators, changes))
    return accounts


def _judge_stedi(run: Run, one: Account) -> Verdict:
    offset = run.offsets[one.partition]["offset"]

    def stored(records: Sequence[Seen]) -> Iterator[str]:
        # A token of the simulator is its place in the stream.
        place = base64.urlsafe_b64decode(offset["token"]).decode().split(".")[0]
        if int(place) != len(records):
            yield f"the token stands at {place} of {len(records)}"

    # Without a token the ids beside the last one tell what is known.
    absent = one.simulators.stedi.options.paging == "absent"
    return run.judge(one, order=AsShown(), check_offset=None if absent else stored)


def test_both_feeds_in_every_variant(sandbox, farm, worker, watch):
    """
    Each event comes once, with its key, its time and all its fields, in the order that can
    be had, and the stored offset is that of the newest record.
    """
    monetago, stedi = _monetago_accounts(farm), _stedi_accounts(farm)
    assert (24, 6) == (len(monetago), len(stedi))
    slow = Rhythm(rate=3, burst=0.05, burst_size=5, equal=0.3, late=0.2, late_by=2)
    fast = Rhythm(rate=8, burst=0.05, burst_size=30, equal=0.3, late=0.2, late_by=1)
    rhythms = [(one, slow) for one in monetago] + [(one, fast) for one in stedi]
    run = run_through(sandbox, farm, worker, watch, rhythms, seconds=6)
    verdicts = {one.source: _judge_monetago(run, one) for one in monetago}
    verdicts |= {one.source: _judge_stedi(run, one) for one in stedi}
    assert min(verdict.delivered for verdict in verdicts.values()) > 60
    assert {source: str(each) for source, each in verdicts.items() if not each.ok} == {}
