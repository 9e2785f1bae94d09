"""When a failed request is tried again, and how long to wait before."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import TypeVar

from perforch_core.models.interface import ModelError

RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""HTTP codes of troubles that pass by themselves."""

LONGEST_WAIT = 30.0
"""Seconds. A server that asks for more is given up: another model will answer sooner."""

Result = TypeVar("Result")


class Again(Exception):
    """The request failed in a way that may pass. `wait` is what the server asked for, in seconds."""

    def __init__(self, message: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


def retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110: seconds or a date); None if unreadable."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except (TypeError, ValueError):
            return None
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        seconds = date.timestamp() - (time.time() if now is None else now)
    return max(0.0, seconds) if seconds == seconds else None


def pause(attempt: int, *, base: float, cap: float = 8.0, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 0): doubling, the upper half of it drawn."""
    whole = min(cap, base * 2**attempt)
    return whole * (0.5 + 0.5 * draw())


async def with_retries(
    request: Callable[[], Awaitable[Result]], *, attempts: int, base: float, deadline: float
) -> Result:
    """Call `request` until it no longer raises Again, at most `attempts` times and not past `deadline` (loop time).

    Raises ModelError with the last message when it gives up.
    """
    loop = asyncio.get_running_loop()
    for number in range(attempts):
        try:
            return await request()
        except Again as again:
            wait = pause(number, base=base) if again.wait is None else again.wait
            if number + 1 == attempts:
                raise ModelError(str(again)) from None
            if wait > LONGEST_WAIT or loop.time() + wait > deadline:
                raise ModelError(f"{again} It asks to wait {wait:.0f} s, longer than this request may take.") from None
        await asyncio.sleep(wait)
    raise AssertionError("attempts must be at least 1")
