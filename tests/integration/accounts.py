# SPDX-License-Identifier: Apache-2.0
"""
Several accounts of the providers, each at a simulated provider of its own, on one worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connector.sandbox import Sandbox
from connector.sandbox.simulators.generator import Rhythm
from connector.sandbox.simulators.server import Simulators
from tests.integration.checker import Verdict, judge
from tests.integration.farm import Farm, offered_by
from tests.integration.offered import Order
from tests.integration.seeing import Decoder, RunningReader, Seen, read_all, read_offsets
from tests.integration.values import same_item
from tests.integration.workers import Worker, account, settings


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, eq=False)
class Account:
    """
    One account at one simulated provider.
    """

    provider: str
    suffix: str
    stream: str
    simulators: Simulators
    changes: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        return f"{self.provider}:{self.suffix}"

    @property
    def partition(self) -> str:
        return f"{self.source}/{self.stream}"

    def topic(self, environment: Mapping[str, str]) -> str:
        prefix = environment["CONNECTOR_TOPIC_PREFIX"]
        return f"{prefix}{self.provider}-{self.suffix}.{self.stream}"

    def produced(self, worker: Worker) -> float:
        """
        Tell how many of its records that worker committed since it started.
        """
        return worker.metric(
            "connector_records_produced_total",
            source=self.source,
            topic=self.topic(worker.environment),
        )

    def variables(self) -> dict[str, str]:
        variables = account(self.simulators.env(), self.provider, self.suffix, **self.changes)
        prefix = f"{self.provider.upper()}_"
        return {name: value for name, value in variables.items() if name.startswith(prefix)}


def environment_of(sandbox: Sandbox, accounts: Sequence[Account]) -> dict[str, str]:
    environment = settings(
        sandbox,
        {},
        connector_sources=",".join(account.source for account in accounts),
        connector_topic_partitions="2",
        # A killed worker is to be forgotten soon.
        connector_kafka_session_timeout_ms="3000",
    )
    for one in accounts:
        environment |= one.variables()
    return environment


@dataclass(frozen=True)
class Run:
    """
    What one worker did for some accounts, to be judged account by account.
    """

    environment: Mapping[str, str]
    late: Sequence[Seen]
    running: Sequence[Seen]
    offsets: Mapping[str, dict[str, Any]]
    decoder: Decoder
    began_ms: int

    def judge(
        self,
        one: Account,
        *,
        order: Order | None = None,
        check_offset: Callable[[Sequence[Seen]], Iterable[str]] | None = None,
    ) -> Verdict:
        topic = one.topic(self.environment)
        return judge(
            offered_by(one.simulators, one.provider),
            [seen for seen in self.late if seen.topic == topic],
            topic=topic,
            running=[seen for seen in self.running if seen.topic == topic],
            order=order,
            check_value=same_item(self.decoder),
            check_offset=check_offset,
        )


def run_through(
    sandbox: Sandbox,
    farm: Farm,
    worker: Callable[[Mapping[str, str]], Worker],
    watch: Callable[..., RunningReader],
    rhythms: Sequence[tuple[Account, Rhythm]],
    *,
    seconds: float,
) -> Run:
    """
    Let a worker read a backlog and what comes live, and kill it in the middle.
    """
    accounts = [one for one, _ in rhythms]
    environment = environment_of(sandbox, accounts)
    reader = watch(*(one.topic(environment) for one in accounts))
    began_ms = now_ms()
    running = worker(environment).start()
    for one, rhythm in rhythms:
        farm.generate(one.simulators, one.provider, rhythm)
    # The moment of the kill: some feeds have caught up, others are in their backlog.
    running.wait_until(
        lambda w: any(feed["state"] == "caught up" for feed in w.status()["feeds"]), 60, "a poll"
    )
    running.kill()
    running.start().wait_ready()
    time.sleep(seconds)
    farm.quiet()
    wanted = {
        offered.id for one in accounts for offered in offered_by(one.simulators, one.provider)
    }
    reader.wait_for(lambda seen: wanted <= {each.id for each in seen}, 90)
    # Whoever repeats a record does so at the next polls.
    after = now_ms() + 2_000
    running.wait_until(
        lambda w: all((feed["last_poll_ms"] or 0) > after for feed in w.status()["feeds"]),
        60,
        "two more polls of each feed",
    )
    assert running.stop() == 0
    topics = [one.topic(environment) for one in accounts]
    return Run(
        environment=environment,
        running=reader.stop(),
        late=read_all(sandbox.bootstrap_servers, *topics),
        offsets=read_offsets(
            sandbox.bootstrap_servers, f"{environment['CONNECTOR_TOPIC_PREFIX']}c.offsets"
        ),
        decoder=Decoder(sandbox.registry_url),
        began_ms=began_ms,
    )
