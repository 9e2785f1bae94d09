"""Durations as people write them."""

from __future__ import annotations


def parse_duration(text: str) -> int:
    """The seconds that a duration such as "1h 30m" stands for.

    Units are d, h, m and s, each at most once and in that order, with optional spaces between the parts; upper case
    is allowed. Raises ValueError for anything else, the empty string included.

    >>> parse_duration("1h 30m")
    5400
    >>> parse_duration("2D")
    172800
    >>> parse_duration("45s")
    45
    >>> parse_duration("10m5s")
    605
    """
    raise NotImplementedError
