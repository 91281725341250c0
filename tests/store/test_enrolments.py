"""Records that are changed by compare-and-set: of all who judged one revision, one writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ztsession.errors import StoreError
from ztsession.identity.enrolments import Enrolments
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state.db") as opened:
        yield opened


@pytest.fixture
def enrolments(store: SqliteStore) -> SqliteEnrolments:
    return SqliteEnrolments(store)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[SqliteEnrolments, SqliteEnrolments]]:
    """Two connections to one file, as an Authority and a command line have them."""
    with SqliteStore(tmp_path / "shared.db") as one, SqliteStore(tmp_path / "shared.db") as other:
        yield SqliteEnrolments(one), SqliteEnrolments(other)


def test_a_record_is_read_as_it_was_put(enrolments: Enrolments) -> None:
    """Its revision counts from 1, any bytes and names survive, and what is not there is none."""
    assert enrolments.get("totp", "ada") is None
    for number, data in enumerate((b"first", b"", bytes(range(256)))):
        assert enrolments.put("totp", "ada", data, expected=number)
        assert enrolments.get("totp", "ada") == (number + 1, data)
    for name in ("", "' OR 1=1 --", "oidc:https://a b", "%", "ada\n"):
        assert enrolments.get("totp", name) is None
        assert enrolments.put("totp", name, name.encode(), expected=0)
        assert enrolments.get("totp", name) == (1, name.encode())


@pytest.mark.parametrize("expected", [0, 1, 3, 2**62, -1])
def test_a_put_that_judged_another_revision_writes_nothing(enrolments: Enrolments, expected: int) -> None:
    """Neither an older nor a later revision than the record's is taken for it, the record's own is."""
    assert enrolments.put("totp", "ada", b"one", expected=0)
    assert enrolments.put("totp", "ada", b"two", expected=1)
    assert enrolments.put("totp", "ada", b"late", expected=expected) is False
    assert enrolments.get("totp", "ada") == (2, b"two")
    assert enrolments.put("totp", "ada", b"three", expected=2) is True


def test_a_put_on_nothing_needs_to_know_that_there_is_nothing(enrolments: Enrolments) -> None:
    """Who judged a record that was removed meanwhile does not bring it back."""
    assert enrolments.put("totp", "ada", b"never", expected=1) is False
    assert enrolments.put("totp", "ada", b"one", expected=0)
    assert enrolments.remove("totp", "ada") is True
    assert enrolments.put("totp", "ada", b"late", expected=1) is False
    assert enrolments.get("totp", "ada") is None


def test_remove_tells_whether_there_was_one(enrolments: Enrolments) -> None:
    """Once removed it is gone, and its revisions begin anew."""
    assert enrolments.remove("totp", "ada") is False
    enrolments.put("totp", "ada", b"one", expected=0)
    enrolments.put("totp", "ada", b"two", expected=1)
    assert [enrolments.remove("totp", "ada") for _ in range(2)] == [True, False]
    assert enrolments.put("totp", "ada", b"again", expected=0)
    assert enrolments.get("totp", "ada") == (1, b"again")


def test_kinds_do_not_mix(enrolments: Enrolments) -> None:
    """One name in several kinds is several records, and each kind is listed by itself, by name."""
    for kind in ("subject", "credential", "sub", "subject "):
        assert enrolments.put(kind, "b", kind.encode(), expected=0)
    enrolments.put("subject", "a", b"z", expected=0)
    enrolments.put("subject", "B", b"x", expected=0)
    assert list(enrolments.all("subject")) == [("B", b"x"), ("a", b"z"), ("b", b"subject")]
    assert list(enrolments.all("SUBJECT")) == list(enrolments.all("%")) == []
    assert enrolments.put("credential", "b", b"changed", expected=1)
    assert enrolments.remove("sub", "b")
    assert enrolments.get("subject", "b") == (1, b"subject")
    assert enrolments.get("subject ", "b") == (1, b"subject ")


def test_two_connections_of_which_one_wins(two: tuple[Enrolments, Enrolments]) -> None:
    """Both have judged the same revision: the second to write is told so, and sees what the first wrote."""
    one, other = two
    assert [each.put("totp", "ada", b"first", expected=0) for each in two] == [True, False]
    assert [each.get("totp", "ada") for each in two] == [(1, b"first")] * 2
    assert other.put("totp", "ada", b"by the other", expected=1) is True
    assert one.put("totp", "ada", b"by one", expected=1) is False
    assert one.get("totp", "ada") == (2, b"by the other")
    assert one.remove("totp", "ada")
    assert other.put("totp", "ada", b"late", expected=2) is False
    assert other.get("totp", "ada") is None


def test_H25_of_many_at_once_exactly_one_wins(two: tuple[Enrolments, Enrolments]) -> None:
    """However many threads on two connections judge one revision, one of them writes, in each round."""
    rounds, writers = 12, 6
    start, won = threading.Barrier(writers), [[False] * writers for _ in range(rounds)]

    def write(number: int) -> None:
        for turn in range(rounds):
            start.wait(30)
            data = bytes([turn, number])
            won[turn][number] = two[number % 2].put("totp", "ada", data, expected=turn)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(turn) for turn in won] == [1] * rounds
    assert two[0].get("totp", "ada") == (rounds, bytes([rounds - 1, won[-1].index(True)]))


def test_nothing_is_lost_when_all_try_again(two: tuple[Enrolments, Enrolments]) -> None:
    """Counting by compare-and-set from several threads counts each of them."""

    def count(enrolments: Enrolments) -> None:
        for _ in range(10):
            while True:
                revision, data = enrolments.get("counter", "") or (0, b"0")
                if enrolments.put("counter", "", b"%d" % (int(data) + 1), expected=revision):
                    break

    threads = [threading.Thread(target=count, args=(two[number % 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert two[1].get("counter", "") == (40, b"40")


def test_records_outlive_the_store(tmp_path: Path) -> None:
    """What was put or removed is so when the file is opened again, with its revision."""
    path = tmp_path / "state.db"
    with SqliteStore(path) as store:
        enrolments = SqliteEnrolments(store)
        for name in ("ada", "bob"):
            enrolments.put("totp", name, b"one", expected=0)
        enrolments.put("totp", "ada", b"two", expected=1)
        enrolments.remove("totp", "bob")
    with SqliteStore(path) as store:
        enrolments = SqliteEnrolments(store)
        assert list(enrolments.all("totp")) == [("ada", b"two")]
        assert enrolments.put("totp", "ada", b"three", expected=2)


def test_a_transaction_keeps_all_or_nothing(two: tuple[Enrolments, Enrolments]) -> None:
    """When a part fails nothing of it was written, and nobody else has seen any of it."""
    one, other = two
    one.put("subject", "ada", b"before", expected=0)

    def change() -> None:
        assert one.put("subject", "ada", b"after", expected=1)
        assert one.put("credential", "dns:ada", b"ada", expected=0)
        assert one.get("subject", "ada") == (2, b"after")
        assert other.get("subject", "ada") == (1, b"before")

    with suppress(ZeroDivisionError), one.transaction():
        change()
        raise ZeroDivisionError
    for each in two:
        assert each.get("subject", "ada") == (1, b"before")
        assert each.get("credential", "dns:ada") is None
    with one.transaction():
        change()
    for each in two:
        assert each.get("subject", "ada") == (2, b"after")
        assert each.get("credential", "dns:ada") == (1, b"ada")


def test_a_removal_is_part_of_its_transaction(enrolments: Enrolments) -> None:
    """What was removed in a transaction that failed is still there."""
    enrolments.put("subject", "ada", b"ada", expected=0)
    with suppress(ZeroDivisionError), enrolments.transaction():
        assert enrolments.remove("subject", "ada")
        raise ZeroDivisionError
    assert enrolments.get("subject", "ada") == (1, b"ada")


def test_a_closed_store_is_an_error_and_not_an_absence(tmp_path: Path) -> None:
    """A record that cannot be read is never taken for one that is not there."""
    store = SqliteStore(tmp_path / "state.db")
    enrolments = SqliteEnrolments(store)
    enrolments.put("subject", "ada", b"ada", expected=0)
    store.close()
    for call in (
        lambda: enrolments.get("subject", "ada"),
        lambda: enrolments.all("subject"),
        lambda: enrolments.put("subject", "ada", b"", expected=1),
        lambda: enrolments.remove("subject", "ada"),
    ):
        with pytest.raises(StoreError, match="closed"):
            call()
