# SPDX-License-Identifier: Apache-2.0
"""
Every metric of the connector, in one place.

Labels are sources, streams, shards, topics and outcomes; never a URL, an id or the
text of an error (invariant 9).
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from connector import __version__

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Lateness is measured against overlaps of minutes to days.
_LATENESS = (1.0, 5.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 6 * 3600.0, 86400.0)
_SIZES = (1, 10, 100, 500, 1000, 2500, 5000, 10000, 20000)


class Metrics:
    """
    The metrics of one worker, on a registry of its own.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        self.build_info = Gauge(
            "connector_build_info",
            "The version that runs; always 1.",
            ["version"],
            registry=registry,
        )
        self.build_info.labels(__version__).set(1)

        # The provider's side.
        self.http_requests = Counter(
            "connector_http_requests_total",
            "Answers of a provider.",
            ["source", "status_class"],
            registry=registry,
        )
        self.http_failures = Counter(
            "connector_http_failures_total",
            "Exchanges without a usable answer.",
            ["source", "cause"],
            registry=registry,
        )
        self.ignored_headers = Counter(
            "connector_http_ignored_headers_total",
            "Headers of a provider that made no sense.",
            ["source", "header"],
            registry=registry,
        )
        self.http_bytes = Counter(
            "connector_http_response_bytes_total",
            "Bytes of answers, as they came over the wire.",
            ["source"],
            registry=registry,
        )
        self.http_seconds = Histogram(
            "connector_http_request_duration_seconds",
            "Time from a request to its whole answer.",
            ["source"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.rate_limited_seconds = Counter(
            "connector_rate_limited_seconds_total",
            "Time spent waiting for a request budget.",
            ["source"],
            registry=registry,
        )
        self.clock_skew_seconds = Gauge(
            "connector_clock_skew_seconds",
            "The provider's clock minus ours.",
            ["source"],
            registry=registry,
        )
        self.poll_records = Counter(
            "connector_poll_records_total",
            "Items taken from a provider, seen ones left out.",
            ["source", "stream"],
            registry=registry,
        )
        self.retries = Counter(
            "connector_retries_total",
            "Steps that failed and are tried again.",
            ["source", "cause"],
            registry=registry,
        )
        self.stopped = Gauge(
            "connector_task_stopped",
            "1 while a task waits for a person.",
            ["source", "stream"],
            registry=registry,
        )
        self.source_lag_seconds = Gauge(
            "connector_source_lag_seconds",
            "Our clock minus the time up to which a stream is complete.",
            ["source", "stream"],
            registry=registry,
        )
        self.last_success = Gauge(
            "connector_last_poll_timestamp_seconds",
            "When a provider last answered a poll well.",
            ["source", "stream"],
            registry=registry,
        )
        self.late_arrival_seconds = Histogram(
            "connector_late_arrival_seconds",
            "How far behind its position an event arrived.",
            ["source", "stream"],
            buckets=_LATENESS,
            registry=registry,
        )
        self.late_events = Counter(
            "connector_late_events_total",
            "Events that appeared after the overlap had passed them.",
            ["source", "stream"],
            registry=registry,
        )
        self.feed_notes = Counter(
            "connector_feed_notes_total",
            "What a feed met that an operator may want to know.",
            ["source", "stream", "note"],
            registry=registry,
        )

        # Records.
        self.records_produced = Counter(
            "connector_records_produced_total",
            "Messages committed, by topic.",
            ["source", "topic"],
            registry=registry,
        )
        self.records_rejected = Counter(
            "connector_records_rejected_total",
            "Items that could not be a record.",
            ["source", "reason"],
            registry=registry,
        )
        self.dlq_records = Counter(
            "connector_dlq_records_total",
            "Items that became dead letters; one that is read again after a failure counts again.",
            ["source"],
            registry=registry,
        )
        self.misfits = Counter(
            "connector_field_misfits_total",
            "Values that did not fit their field and were kept as raw text instead.",
            ["source", "stream", "field"],
            registry=registry,
        )

        # Kafka's side.
        self.transactions = Counter(
            "connector_transactions_total",
            "Transactions by outcome: committed, aborted, fenced, unknown.",
            ["shard", "outcome"],
            registry=registry,
        )
        self.transaction_seconds = Histogram(
            "connector_transaction_duration_seconds",
            "Time from begin to the end of the commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.transaction_records = Histogram(
            "connector_transaction_records",
            "Messages in a transaction.",
            buckets=_SIZES,
            registry=registry,
        )
        self.visible_seconds = Histogram(
            "connector_poll_to_commit_seconds",
            "Time from a provider's answer to the commit of its records.",
            ["source", "stream"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.last_commit = Gauge(
            "connector_last_commit_timestamp_seconds",
            "When a source last committed.",
            ["source", "stream"],
            registry=registry,
        )
        self.inflight_records = Gauge(
            "connector_inflight_records",
            "Messages fetched and not committed yet.",
            ["source", "stream"],
            registry=registry,
        )
        self.shard_owned = Gauge(
            "connector_shard_owned",
            "1 while this worker owns and serves the shard.",
            ["shard"],
            registry=registry,
        )
        self.shard_restarts = Counter(
            "connector_shard_restarts_total",
            "Times a shard was begun again from what Kafka says.",
            ["shard", "cause"],
            registry=registry,
        )
        self.replay_seconds = Histogram(
            "connector_replay_duration_seconds",
            "Time to read a shard's offsets.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.unknown_offsets = Gauge(
            "connector_unknown_offsets",
            "Stored offsets of sources that are not configured here.",
            registry=registry,
        )
        self.fatal_errors = Counter(
            "connector_fatal_errors_total",
            "Errors that a person has to look at.",
            ["kind"],
            registry=registry,
        )


class HttpMetrics:
    """
    Feeds the HTTP client's observations of one source into the metrics.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def on_response(self, source: str, status_class: str, seconds: float, wire_bytes: int) -> None:
        """
        Count one answer.
        """
        self._metrics.http_requests.labels(source, status_class).inc()
        self._metrics.http_bytes.labels(source).inc(wire_bytes)
        self._metrics.http_seconds.labels(source).observe(seconds)

    def on_failure(self, source: str, cause: str, seconds: float) -> None:
        """
        Count an exchange without a usable answer.
        """
        self._metrics.http_failures.labels(source, cause).inc()
        self._metrics.http_seconds.labels(source).observe(seconds)

    def on_ignored_header(self, source: str, header: str) -> None:
        """
        Count a header that made no sense.
        """
        self._metrics.ignored_headers.labels(source, header).inc()

    def on_rate_limited(self, source: str, seconds: float) -> None:
        """
        Count time spent waiting for a request budget.
        """
        self._metrics.rate_limited_seconds.labels(source).inc(seconds)

    def on_skew(self, source: str, seconds: float) -> None:
        """
        Publish how far the provider's clock is from ours.
        """
        self._metrics.clock_skew_seconds.labels(source).set(seconds)
