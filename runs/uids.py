"""The uids of a run's inputs and batches. They follow from the run's uid and a place: no column stores them."""

from __future__ import annotations

import uuid


def input_uid(run_uid: uuid.UUID, index: int) -> uuid.UUID:
    """Return the stable uid of a run's input: the run's own time, and bits that follow from the run and the index.

    A version 7 UUID (RFC 9562 section 5.7) without a column to store it in.
    """
    return _uid_of_part(run_uid, f"input {index}")


def batch_uid(run_uid: uuid.UUID, first_index: int) -> uuid.UUID:
    """Return the stable uid of a run's batch, by the index of its first input, in the same way."""
    return _uid_of_part(run_uid, f"batch {first_index}")


def _uid_of_part(run_uid: uuid.UUID, name: str) -> uuid.UUID:
    noise = uuid.uuid5(run_uid, name).int
    time_and_version = run_uid.int >> 76 << 76
    variant = 0b10 << 62
    return uuid.UUID(int=time_and_version | (noise >> 52 & 0xFFF) << 64 | variant | noise & 0x3FFF_FFFF_FFFF_FFFF)
