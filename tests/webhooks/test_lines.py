"""Which callback a thread takes next: no receiver holds more threads than are free."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from uuid import UUID

from tests.webhooks.factories import attempt
from webhooks.dispatch import Claim
from webhooks.lines import MAX_BYTES, Lines
from webhooks.parcels import Parcel
from webhooks.signing import Secrets

_NUMBERS = iter(range(1, 10**9))


def parcel(
    receiver_id: int, start_by: float = float("inf"), *, workspace_id: int | None = None, size: int = 0
) -> Parcel:
    """Return a callback of a workspace that has no other receiver, unless one is named."""
    workspace_id = workspace_id or receiver_id
    claim = Claim(False, start_by, next(_NUMBERS), 1, receiver_id, workspace_id, 1, 1, 0, UUID(int=0), 0)
    return Parcel(claim, "", (), bytes(size), Secrets(""))


def filled(threads: int, **waiting: int) -> Lines:
    """Return lines in which so many wait of the receivers 1 (`a`), 2 (`b`) and so on."""
    lines = Lines(threads)
    for name, count in waiting.items():
        for _ in range(count):
            lines.add(parcel(ord(name) - ord("a") + 1))
    return lines


def begin_all(lines: Lines) -> list[Parcel]:
    begun = []
    while found := lines.begin():
        begun.append(found)
    return begun


def held(begun: list[Parcel]) -> dict[int, int]:
    return dict(Counter(one.claim.receiver_id for one in begun))


def end(lines: Lines, one: Parcel, status: int | None = 200, duration_ms: int = 15_000) -> None:
    lines.end(one, replace(attempt(status), duration_ms=duration_ms))


def test_alone_a_receiver_gets_half() -> None:
    for threads, expected in [(64, 32), (10, 5), (3, 2), (2, 1), (1, 1)]:
        assert held(begin_all(filled(threads, a=100))) == {1: expected}


def test_several_share_and_some_threads_are_always_free() -> None:
    lines = filled(64, a=100)
    begun = begin_all(lines)
    for receiver_id in range(2, 8):
        for _ in range(100):
            lines.add(parcel(receiver_id))
        some = begin_all(lines)
        assert some, f"nothing is left for receiver {receiver_id}"
        begun += some
        assert lines.free == 64 - len(begun)
    even = filled(64, a=100, b=100, c=100)
    assert held(begin_all(even)) == {1: 16, 2: 16, 3: 16}


def test_who_holds_too_many_gives_way() -> None:
    """A receiver that came first ends with its share when others come, as its callbacks end."""
    lines = filled(60, a=200)
    first = begin_all(lines)
    for _ in range(200):
        lines.add(parcel(2))
    second = begin_all(lines)
    assert (len(first), len(second)) == (30, 15)
    for one in first[:15]:
        end(lines, one)
    begun = held(begin_all(lines))
    assert len(second) + begun.get(2, 0) >= 20
    assert 15 + begun.get(1, 0) <= 20


def test_a_workspace_with_many_receivers_leaves_some_to_others() -> None:
    lines = Lines(64)
    for receiver_id in range(1, 201):
        lines.add(parcel(receiver_id, workspace_id=1000))
    begun = begin_all(lines)
    assert len(begun) == 57
    assert lines.full_workspaces() == [1000]
    assert (lines.room(201, 1000), lines.room(202, 1001)) == (0, 4)
    for _ in range(100):
        lines.add(parcel(202, workspace_id=1001))
    assert len(begin_all(lines)) == 4
    end(lines, begun[0])
    assert lines.full_workspaces() == [1000]


def test_a_few_large_bodies_are_enough() -> None:
    lines = Lines(64)
    large = [parcel(1, size=MAX_BYTES // 4) for _ in range(4)]
    for one in large:
        assert lines.may_take_more
        lines.add(one)
    assert not lines.may_take_more
    first = lines.begin()
    assert first
    assert not lines.may_take_more
    end(lines, first)
    assert lines.may_take_more
    lines.take_back_all()
    assert lines.bytes == 0


def test_receivers_take_turns() -> None:
    lines = filled(64, a=3, b=3, c=1)
    assert [one.claim.receiver_id for one in begin_all(lines)] == [1, 2, 3, 1, 2, 1, 2]


def test_room_is_what_may_begin() -> None:
    lines = Lines(64)
    assert lines.room(1, 1) == 32
    for _ in range(32):
        lines.add(parcel(1))
    assert (lines.room(1, 1), lines.full()) == (0, [1])
    begun = begin_all(lines)
    assert (lines.room(1, 1), lines.room(2, 2)) == (0, 16)
    end(lines, begun[0])
    assert lines.room(1, 1) == 1


def test_quick_receivers_have_a_few_in_advance_and_slow_ones_none() -> None:
    for duration_ms, expected in [(1, 33), (50, 33), (500, 4), (15_000, 1)]:
        lines = filled(64, a=32)
        begun = begin_all(lines)
        end(lines, begun[0], duration_ms=duration_ms)
        assert lines.room(1, 1) == expected


def test_after_ten_failures_nothing_more_is_begun_until_they_are_recorded() -> None:
    lines = filled(64, a=100)
    for _ in range(9):
        one = lines.begin()
        assert one
        end(lines, one, 500)
    assert lines.begin()
    one = lines.begin()
    assert one
    end(lines, one, None)
    assert (lines.begin(), lines.has_next(), lines.room(1, 1)) == (None, False, 0)
    lines.forgive(1)
    assert lines.begin()


def test_a_success_or_410_in_between_is_no_doubt() -> None:
    for status in (200, 410):
        lines = filled(64, a=100)
        for answer in [*[500] * 9, status, *[500] * 9]:
            one = lines.begin()
            assert one
            end(lines, one, answer)
        assert lines.begin()


def test_failures_are_remembered_when_nothing_else_is_left() -> None:
    lines = filled(4, a=1)
    one = lines.begin()
    assert one
    end(lines, one, 500)
    assert not lines.is_empty
    lines.forgive(1)
    assert lines.is_empty


def test_what_waits_can_be_taken_back() -> None:
    lines = filled(2, a=3, b=2)
    one = lines.begin()
    assert one
    assert [held(lines.take_back(key)) for key in (1, 2, 3)] == [{1: 2}, {2: 2}, {}]
    assert lines.begin() is None
    lines.end(one, None)
    assert lines.is_empty
    lines.add(parcel(1))
    lines.add(parcel(2, start_by=time.monotonic() - 1))
    assert held(lines.take_back_late(time.monotonic())) == {2: 1}
    assert held(lines.take_back_all()) == {1: 1}
    assert lines.is_empty
    assert lines.free == 2
