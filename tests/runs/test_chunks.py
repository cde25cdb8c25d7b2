"""Packing inputs and results, and the bits that say which inputs have a result."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from runs.chunks import DoneBits, pack_json, pack_lines, unpack_json, unpack_lines

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(json_values, min_size=1, max_size=8))
def test_lines_come_back_as_they_were_packed(values: list[object]) -> None:
    lines = [to_json(value) for value in values]
    assert unpack_lines(pack_lines(lines)) == lines
    assert unpack_lines(memoryview(pack_lines(lines))) == lines


@given(json_values)
def test_json_comes_back_with_its_order_and_its_numbers(value: object) -> None:
    back = unpack_json(pack_json(value))
    assert back == value
    assert to_json(back) == to_json(value)


def test_the_sign_of_zero_stays() -> None:
    assert math.copysign(1, unpack_json(pack_json(-0.0))) == -1


@given(st.integers(0, 1_000).flatmap(lambda size: st.tuples(st.just(size), st.sets(st.integers(0, max(size - 1, 0))))))
def test_done_bits_are_a_set(case: tuple[int, set[int]]) -> None:
    size, offsets = case
    offsets = {offset for offset in offsets if offset < size}
    done = DoneBits(size)
    for offset in offsets:
        done.add(offset)
        done.add(offset)
    for bits in (done, DoneBits(size, done.packed()), DoneBits(size, memoryview(done.packed()))):
        assert bits.count() == len(offsets)
        assert bits.missing() == [offset for offset in range(size) if offset not in offsets]
        assert all((offset in bits) == (offset in offsets) for offset in range(size))
    assert len(done.packed()) == math.ceil(size / 8)


def test_bits_are_cleared_one_by_one() -> None:
    done = DoneBits(10)
    for offset in range(10):
        done.add(offset)
    for offset in (0, 7, 9, 9):
        done.discard(offset)
    assert done.missing() == [0, 7, 9]


def test_a_copy_of_the_bits_is_its_own() -> None:
    one = DoneBits(9)
    two = DoneBits(9, one.packed())
    two.add(8)
    assert 8 not in one
    assert two.packed() == b"\x00\x01"
