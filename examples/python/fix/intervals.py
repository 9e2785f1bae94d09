"""Booked time slots of a meeting room, as (start, end) minutes of the day."""

from __future__ import annotations


def merge_slots(slots: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge slots that overlap or touch; the result is sorted.

    >>> merge_slots([(540, 600), (590, 660), (700, 720)])
    [(540, 660), (700, 720)]
    >>> merge_slots([(540, 600), (600, 615)])
    [(540, 615)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(slots):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged
