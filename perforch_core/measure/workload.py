"""Inputs for timing: strata of several sizes and shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from perforch_core.languages.interface import Case

Make = Callable[[int, int], list[Case]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """One kind of input. `make(seed, count)` gives different inputs for different seeds.

    `n` is the size it states. `sized` strata differ in nothing but size and are used for growth and crossover.
    `rounds` limits a stratum to the first so many rounds: enough for growth, where no claim is made.
    """

    name: str
    n: int
    make: Make
    sized: bool = True
    rounds: int | None = None


Workload = tuple[Stratum, ...]
