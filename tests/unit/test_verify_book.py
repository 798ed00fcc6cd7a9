# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from connector.verify.book import Book, Headers
from connector.verify.run import Retention
from connector.verify.verdict import Gap, Place


def _headers(seq: str | None, identifier: str | None, **more: str) -> Headers:
    named = {"id": identifier, "seq": seq, **more}
    return [(name, value.encode()) for name, value in named.items() if value is not None]


class _Writer:
    """
    Adds messages to a book as partitions would hold them, unless told otherwise.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.offsets: dict[int, int] = {}

    def write(
        self,
        seq: str | None,
        identifier: str | None = "",
        *,
        partition: int = 0,
        timestamp: int = 1000,
        **more: str,
    ) -> Place:
        offset = self.offsets.get(partition, 0)
        self.offsets[partition] = offset + 1
        name = f"id-{seq}" if identifier == "" else identifier
        self.book.add(partition, offset, timestamp, _headers(seq, name, **more))
        return Place(partition, offset)


@pytest.fixture
def book() -> Iterator[Book]:
    made = Book("t")
    yield made
    made.close()


@pytest.fixture
def writer(book: Book) -> _Writer:
    return _Writer(book)


def test_right_topic_is_clean(book: Book, writer: _Writer) -> None:
    """
    Numbers from 1 without a gap over partitions, shards and epochs are no finding.
    """
    for shard in (0, 3):
        for epoch in (100, 200):
            for n in range(1, 51):
                writer.write(f"{shard}.{epoch}.{n}", partition=n % 3)

    verdict = book.judge()

    assert verdict.clean
    assert verdict.records == 200
    assert [(run.shard, run.epoch, run.first, run.last, run.missing) for run in verdict.runs] == [
        (0, 100, 1, 50, 0),
        (0, 200, 1, 50, 0),
        (3, 100, 1, 50, 0),
        (3, 200, 1, 50, 0),
    ]


def test_missing_numbers_are_ranges(book: Book, writer: _Writer) -> None:
    """
    Missing numbers are counted and given as ranges.
    """
    for n in (1, 2, 5, 6, 8):
        writer.write(f"0.100.{n}")

    (run,) = book.judge().runs

    assert (run.missing, run.gaps) == (3, (Gap(3, 4), Gap(7, 7)))
    assert not run.clean


def test_missing_beginning_of_a_whole_topic_is_a_finding(book: Book, writer: _Writer) -> None:
    """
    Where nothing was removed numbers begin at 1, so a later beginning is a loss.
    """
    writer.write("0.100.4")
    writer.write("0.100.5")

    (run,) = book.judge().runs

    assert (run.first, run.last, run.missing, run.gaps) == (4, 5, 3, (Gap(1, 3),))


def test_number_twice_is_a_finding(book: Book, writer: _Writer) -> None:
    """
    A number that two messages carry is counted, with the place of the second.
    """
    writer.write("0.100.1")
    writer.write("0.100.2")
    second = writer.write("0.100.2", "another", partition=1)

    (run,) = book.judge().runs

    assert (run.twice, run.twice_at, run.ids_twice, run.clean) == (1, (second,), 0, False)


def test_id_twice_within_an_epoch_is_a_finding(book: Book, writer: _Writer) -> None:
    """
    An id that one shard wrote twice in one epoch is counted, with both places.
    """
    one = writer.write("0.100.1", "a")
    two = writer.write("0.100.2", "a", partition=1)

    verdict = book.judge()

    assert verdict.runs[0].ids_twice == 1
    assert verdict.runs[0].ids_twice_at == ((one, two),)
    assert (verdict.read_again, verdict.clean) == (0, False)


def test_id_in_a_later_epoch_was_read_again(book: Book, writer: _Writer) -> None:
    """
    An id that recurs in a later epoch is listed, and no finding.
    """
    one = writer.write("0.100.1", "a")
    two = writer.write("0.200.1", "a")

    verdict = book.judge()

    assert (verdict.read_again, verdict.read_again_at) == (1, ((one, two),))
    assert verdict.clean


def test_id_in_a_backfill_was_read_again(book: Book, writer: _Writer) -> None:
    """
    An id that recurs in a backfill is listed, and no finding, even within one epoch.
    """
    writer.write("0.100.1", "a")
    writer.write("0.100.2", "a", backfill="b-1")

    verdict = book.judge()

    assert (verdict.read_again, verdict.clean) == (1, True)


def test_id_of_two_shards_at_the_same_time_is_a_finding(book: Book, writer: _Writer) -> None:
    """
    Two shards that wrote one id while both were writing were both owner of it.
    """
    writer.write("0.100.1", "a")
    writer.write("1.101.1", "b")
    writer.write("0.100.2", "c")
    writer.write("1.101.2", "a")

    verdict = book.judge()

    assert [run.ids_twice for run in verdict.runs] == [0, 1]
    assert not verdict.clean


def test_id_of_another_shard_after_a_reshard_was_read_again(book: Book, writer: _Writer) -> None:
    """
    A shard that began when the other had ended read again what the other wrote.
    """
    writer.write("0.100.1", "a")
    writer.write("0.100.2", "b")
    writer.write("1.200.1", "a")
    writer.write("1.200.2", "b")

    verdict = book.judge()

    assert (verdict.read_again, verdict.clean) == (2, True)


def test_id_of_an_epoch_that_had_not_ended_is_a_finding(book: Book, writer: _Writer) -> None:
    """
    An old epoch that goes on beside the new one was not fenced.
    """
    writer.write("0.100.1", "a")
    writer.write("0.200.1", "b")
    writer.write("0.100.2", "b")
    writer.write("0.200.2", "c")

    assert [run.ids_twice for run in book.judge().runs] == [0, 1]


def test_equal_ids_of_two_topics_in_the_dead_letters_differ(book: Book, writer: _Writer) -> None:
    """
    Dead letters of two topics are told apart by the topic they name.
    """
    topics = [{"__connect.errors.topic": name} for name in ("x", "y")]
    writer.write("0.100.1", "a", **topics[0])
    writer.write("0.100.2", "a", **topics[1])

    assert book.judge().clean


@pytest.mark.parametrize(
    "seq", [None, "", "1", "0.100", "0.100.0", "0.100.x", "01.100.1", "0.100.1.1", "-1.100.1"]
)
def test_message_without_a_usable_seq_is_foreign(
    book: Book, writer: _Writer, seq: str | None
) -> None:
    """
    What is not numbered as we number is a finding.
    """
    place = writer.write(seq, "a")

    verdict = book.judge()

    assert (verdict.foreign, verdict.foreign_at, verdict.runs) == (1, (place,), ())
    assert not verdict.clean


def test_message_without_an_id_is_foreign_but_numbered(book: Book, writer: _Writer) -> None:
    """
    A number counts even if the id beside it is missing, and that is a finding.
    """
    writer.write("0.100.1", None)
    writer.write("0.100.2")

    verdict = book.judge()

    assert (verdict.foreign, verdict.runs[0].missing, verdict.clean) == (1, 0, False)


def test_lower_number_behind_a_higher_one_is_out_of_order(book: Book, writer: _Writer) -> None:
    """
    Within a partition the numbers of a run ascend.
    """
    writer.write("0.100.1")
    writer.write("0.100.3")
    place = writer.write("0.100.2")

    (run,) = book.judge().runs

    assert (run.missing, run.out_of_order, run.out_of_order_at) == (0, 1, (place,))
    assert not run.clean


def test_compacted_topic_is_not_judged_by_gaps() -> None:
    """
    On a compacted topic missing numbers are no finding, which is said; repeats are.
    """
    book = Book("t", compacted=True)
    writer = _Writer(book)
    writer.write("0.100.5")
    writer.write("0.100.9")

    assert not book.begin_second_pass()
    verdict = book.judge()

    assert (verdict.clean, verdict.runs[0].missing) == (True, None)
    assert any("compacted" in each for each in verdict.unseen)


def test_judging_starts_after_what_retention_removed() -> None:
    """
    Numbers are judged above the highest one polled up to the edge; gaps below are none.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    # Partition 0 lost numbers 1, 3 and 5; partition 1 kept all of its own.
    for n in (2, 4, 6):
        writer.write(f"0.100.{n}", partition=1, timestamp=1000 + n)
    writer.write("0.100.7", partition=0, timestamp=2000)
    writer.write("0.100.8", partition=1, timestamp=2001)
    writer.write("0.100.10", partition=0, timestamp=2002)

    verdict = book.judge()
    (run,) = verdict.runs

    assert (run.first, run.last, run.gaps) == (8, 10, (Gap(9, 9),))
    assert (verdict.judged_from, verdict.cut) == (2000, (0,))


def test_equal_poll_times_at_the_edge_are_no_false_finding() -> None:
    """
    A page of one timestamp that retention cut in the middle is not called a loss.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    # One page at 2000: 1 to 4; 2 and 3 were removed from partition 0.
    writer.write("0.100.1", partition=1, timestamp=2000)
    writer.write("0.100.4", partition=0, timestamp=2000)
    writer.write("0.100.5", partition=1, timestamp=2001)

    assert book.judge().clean


def test_unordered_poll_times_at_the_edge_are_no_false_finding() -> None:
    """
    A removed number that was polled earlier than a lower one is not called a loss.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    # Number 3 was polled at 1990 and waited; 2 was polled at 2010. 3 was removed.
    writer.write("0.100.1", partition=1, timestamp=1980)
    writer.write("0.100.2", partition=1, timestamp=2010)
    writer.write("0.100.4", partition=0, timestamp=2020)
    writer.write("0.100.5", partition=0, timestamp=2030)

    (run,) = book.judge().runs

    assert (run.first, run.missing) == (4, 0)


def test_removed_number_above_the_last_doubtful_one_is_no_finding() -> None:
    """
    Judging starts at a number that is there: the one before it may have been removed.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    # Number 6 was polled at 2000 and removed; partition 0 holds another shard's only.
    writer.write("1.100.1", partition=0, timestamp=2000)
    writer.write("0.100.5", partition=1, timestamp=1990)
    writer.write("0.100.7", partition=1, timestamp=2001)

    (run, _) = book.judge().runs

    assert (run.first, run.missing) == (7, 0)


def test_a_run_that_began_after_the_edge_is_judged_from_its_lowest() -> None:
    """
    Retention of older runs does not hide a gap of a run that began later.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    writer.write("0.100.9", partition=0, timestamp=2000)
    writer.write("0.3000.1", partition=1, timestamp=3000)
    writer.write("0.3000.3", partition=0, timestamp=3000)

    runs = book.judge().runs

    assert [(run.first, run.missing) for run in runs] == [(None, None), (1, 1)]


def test_repeats_below_the_edge_are_still_findings() -> None:
    """
    Retention explains what is missing, never what is there twice.
    """
    book = Book("t", retention=Retention(cut=frozenset({0}), until=2000))
    writer = _Writer(book)
    writer.write("0.100.9", timestamp=1500)
    writer.write("0.100.9", timestamp=1500)

    (run,) = book.judge().runs

    assert (run.twice, run.ids_twice, run.clean) == (1, 1, False)


def test_second_pass_fills_what_lay_behind_the_first_marks(book: Book, writer: _Writer) -> None:
    """
    A number committed before the first pass ended, but behind its mark, is not missing.
    """
    writer.write("0.100.1", partition=0)
    writer.write("0.100.3", partition=1)

    assert book.begin_second_pass()
    writer.write("0.100.2", partition=0)

    assert book.judge().clean


def test_second_pass_ignores_what_is_newer(book: Book, writer: _Writer) -> None:
    """
    Numbers, runs and foreign messages beyond the first pass are not judged by halves.
    """
    writer.write("0.100.1", partition=0)
    writer.write("0.100.3", partition=1)
    book.begin_second_pass()
    writer.write("0.100.2", partition=0)
    writer.write("0.100.9", partition=0)
    writer.write("5.100.9", partition=0)
    writer.write(None, partition=0)

    verdict = book.judge()

    assert verdict.clean
    assert (verdict.records, verdict.runs[0].last) == (3, 3)


def test_second_pass_is_needless_without_a_gap(book: Book, writer: _Writer) -> None:
    """
    A topic without a gap is not read further.
    """
    writer.write("0.100.1")
    writer.write("0.100.2")

    assert not book.begin_second_pass()


def test_verdict_is_json(book: Book, writer: _Writer) -> None:
    """
    A verdict turns into plain values, with its conclusion.
    """
    writer.write("0.100.1", "a")
    writer.write("0.100.3", "a")

    shown = book.judge().as_json()

    assert shown["clean"] is False
    assert shown["runs"][0]["clean"] is False
    assert shown["runs"][0]["gaps"] == [{"first": 2, "last": 2}]
    assert shown["topic"] == "t"
