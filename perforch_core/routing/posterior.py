"""What to expect of a model: the chance that it succeeds, its seconds and its cost, from the profile.

Small cells are shrunk towards their parents (a beta prior of weight WEIGHT around the parent's estimate): all models
in the stage -> this model in the stage -> in the language too -> in each category too. Where tasks are on record in
which the models that have failed now failed too, the chance is that among those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perforch_core.routing.profile import AttemptRecord, by_task
from perforch_core.task import Stage

WEIGHT = 4.0
"""How many attempts the parent's estimate counts for."""

FIRST_GUESS = 0.5
UNKNOWN_SECONDS = 10.0
"""Waiting expected of a model never asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What to expect of one request. `tries` and `wins` are the model's own in this language and stage.

    `after_tries` and `after_wins` count tasks in which all those that have failed now had failed too. `cost` is None
    where nothing is on record.
    """

    probability: float
    seconds: float
    cost: float | None
    tries: int
    wins: int
    after_tries: int = 0
    after_wins: int = 0


@dataclass(slots=True)
class _Cell:
    tries: int = 0
    wins: int = 0
    seconds: float = 0.0
    cost: float = 0.0

    def add(self, attempt: AttemptRecord) -> None:
        self.tries += 1
        self.wins += attempt.won
        self.seconds += attempt.usage.seconds
        self.cost += attempt.usage.cost

    def shrunk(self, parent: float) -> float:
        return (self.wins + WEIGHT * parent) / (self.tries + WEIGHT)


class Posterior:
    """The estimates that a set of attempts supports."""

    def __init__(self, attempts: Iterable[AttemptRecord]) -> None:
        self._cells: defaultdict[tuple[str, ...], _Cell] = defaultdict(_Cell)
        # (stage, model) -> per task: which failed, and whether this model won
        self._joint: defaultdict[tuple[str, str], list[tuple[frozenset[str], bool]]] = defaultdict(list)
        for group in by_task(attempts):
            failed = frozenset(attempt.model for attempt in group if not attempt.won)
            for attempt in group:
                stage, model = attempt.stage.value, attempt.model
                keys = [(stage,), (stage, model), (stage, model, attempt.language)]
                keys += [(stage, model, attempt.language, category) for category in attempt.categories]
                for key in keys:
                    self._cells[key].add(attempt)
                # Who failed in the task besides it, whether asked before or after: failing is a fact of both.
                self._joint[stage, model].append((failed - {model}, attempt.won))

    def estimate(
        self,
        model: str,
        *,
        stage: Stage,
        language: str,
        categories: Sequence[str] = (),
        failed: Iterable[str] = (),
    ) -> Estimate:
        """What to expect of `model`, given that the models `failed` have failed at this task."""
        own = self._cell(stage.value, model, language)
        chance = self._chance(model, stage.value, language, categories)
        gone = frozenset(failed) - {model}
        tries, wins = self._after(stage.value, model, gone) if gone else (0, 0)
        return Estimate(
            probability=self._given(model, stage.value, gone, chance),
            seconds=self._seconds(stage.value, model, language),
            cost=self._cost(stage.value, model, language),
            tries=own.tries,
            wins=own.wins,
            after_tries=tries,
            after_wins=wins,
        )

    def _cell(self, *key: str) -> _Cell:
        return self._cells.get(key) or _Cell()

    def _chance(self, model: str, stage: str, language: str, categories: Sequence[str]) -> float:
        chance = self._cell(stage).shrunk(FIRST_GUESS)
        for key in ((stage, model), (stage, model, language)):
            chance = self._cell(*key).shrunk(chance)
        if not categories:
            return chance
        # The mean, not the product: a task of three kinds is not three times as hard.
        return sum(self._cell(stage, model, language, item).shrunk(chance) for item in categories) / len(categories)

    def _given(self, model: str, stage: str, gone: frozenset[str], chance: float) -> float:
        """The chance among tasks where others failed: first by each of them, then by all of them together."""
        for other in sorted(gone):
            tries, wins = self._after(stage, model, frozenset({other}))
            chance = (wins + WEIGHT * chance) / (tries + WEIGHT)
        if len(gone) > 1:
            tries, wins = self._after(stage, model, gone)
            chance = (wins + WEIGHT * chance) / (tries + WEIGHT)
        return chance

    def _after(self, stage: str, model: str, gone: frozenset[str]) -> tuple[int, int]:
        outcomes = [won for failed, won in self._joint.get((stage, model), ()) if gone <= failed]
        return len(outcomes), sum(outcomes)

    def _seconds(self, stage: str, model: str, language: str) -> float:
        seconds = UNKNOWN_SECONDS
        for key in ((stage, model), (stage, model, language)):
            cell = self._cell(*key)
            seconds = (cell.seconds + seconds) / (cell.tries + 1)
        return seconds

    def _cost(self, stage: str, model: str, language: str) -> float | None:
        for key in ((stage, model, language), (stage, model)):
            cell = self._cell(*key)
            if cell.tries:
                return cell.cost / cell.tries
        return None
