"""Routing learns from records: simulated models of different strengths, asked over and over."""

from __future__ import annotations

import random
from typing import Any

import pytest

from perforch_core.routing.posterior import Posterior
from perforch_core.routing.profile import AttemptRecord, Outcome, Profile
from perforch_core.routing.router import Ask, Choice, Stop, next_model, rank
from perforch_core.settings import ModelConfig, RoutingWeights
from perforch_core.task import Budget, Stage, Usage

PLENTY = Budget(seconds=1000, calls=100)
NO_WEIGHT = RoutingWeights(cost=0, waiting=0)


def attempt(task: str, order: int, model: str, won: bool, **changes: Any) -> AttemptRecord:
    usual: dict[str, Any] = {"language": "python", "stage": Stage.FIX, "usage": Usage(seconds=2, cost=0.001), "at": 1.0}
    outcome = Outcome.SUGGESTED if won else Outcome.FAILED
    return AttemptRecord(task=task, order=order, model=model, outcome=outcome, **{**usual, **changes})


def tried(model: str, wins: int, tries: int, **changes: Any) -> list[AttemptRecord]:
    return [attempt(f"{model}{changes}{n}", 0, model, n < wins, **changes) for n in range(tries)]


def ask(*models: str, **changes: Any) -> Ask:
    usual: dict[str, Any] = {"stage": Stage.FIX, "language": "python"}
    return Ask(models=models, **{**usual, **changes})


def order(question: Ask, records: list[AttemptRecord], weights: RoutingWeights = NO_WEIGHT) -> list[str]:
    return [choice.model for choice in rank(question, posterior=Posterior(records), weights=weights)]


class Simulated:
    """A model that solves a task with a chance that depends on the stage."""

    def __init__(self, name: str, *, fix: float, refine: float, seconds: float, cost: float) -> None:
        self.name = name
        self.chances = {Stage.FIX: fix, Stage.REFINE: refine}
        self.usage = Usage(seconds=seconds, cost=cost)


def learn(models: list[Simulated], tasks: int, *, seed: int = 1, weights: RoutingWeights = NO_WEIGHT) -> Profile:
    """Work through `tasks` tasks of each stage as the orchestrator would: ask, record, ask the next."""
    profile, draw = Profile(None), random.Random(seed)
    by_name = {model.name: model for model in models}
    for number in range(tasks):
        for stage in (Stage.FIX, Stage.REFINE):
            posterior, failed = Posterior(profile.attempts(stage=stage)), []
            while True:
                names = tuple(draw.sample(sorted(by_name), len(by_name)))
                question = ask(*names, stage=stage, failed=tuple(failed))
                choice = next_model(question, left=PLENTY, posterior=posterior, weights=weights)
                if isinstance(choice, Stop):
                    break
                model = by_name[choice.model]
                won = draw.random() < model.chances[stage]
                record = attempt(
                    f"{number}-{stage}", len(failed), model.name, won, stage=stage, usage=model.usage, at=number + 1.0,
                    failed_before=tuple(failed),
                )  # fmt: skip
                profile.record(record)
                if won:
                    break
                failed.append(model.name)
    return profile


@pytest.mark.parametrize("seed", range(4))
def test_the_order_for_fix_differs_from_refine_as_the_records_say(seed: int) -> None:
    models = [
        Simulated("fixer", fix=0.9, refine=0.4, seconds=2, cost=0.001),
        Simulated("tuner", fix=0.3, refine=0.8, seconds=2, cost=0.001),
        Simulated("poor", fix=0.05, refine=0.05, seconds=2, cost=0.001),
    ]
    posterior = Posterior(learn(models, 80, seed=seed).attempts())
    names = ("poor", "tuner", "fixer")
    fix = [c.model for c in rank(ask(*names), posterior=posterior, weights=NO_WEIGHT)]
    refine = [c.model for c in rank(ask(*names, stage=Stage.REFINE), posterior=posterior, weights=NO_WEIGHT)]
    assert fix[0] == "fixer" and refine[0] == "tuner" and fix[-1] == refine[-1] == "poor"


def test_the_cascade_is_cheaper_than_always_asking_the_best() -> None:
    models = [
        Simulated("cheap", fix=0.7, refine=0.5, seconds=2, cost=0.001),
        Simulated("dear", fix=0.95, refine=0.9, seconds=2, cost=0.5),
    ]
    attempts = learn(models, 60, weights=RoutingWeights(cost=1.0, waiting=0)).attempts(stage=Stage.FIX)
    solved = len({record.task for record in attempts if record.won})
    spent = sum(record.usage.cost for record in attempts)
    assert solved >= 0.9 * 60 and spent < 0.6 * 60 * 0.5


def test_small_cells_are_shrunk_to_their_parents() -> None:
    estimate = Posterior(tried("a", 80, 100) + tried("a", 0, 1, language="rust")).estimate
    rust = estimate("a", stage=Stage.FIX, language="rust").probability
    python = estimate("a", stage=Stage.FIX, language="python").probability
    assert 0.5 < rust < python and 0.75 < python < 0.82
    assert 0.0 < Posterior(tried("a", 0, 50)).estimate("a", stage=Stage.FIX, language="python").probability < 0.1
    assert Posterior([]).estimate("a", stage=Stage.FIX, language="go").probability == 0.5


def test_categories_tell_models_apart() -> None:
    records = tried("a", 18, 20, categories=("Math",)) + tried("a", 8, 20, categories=("String",))
    records += tried("b", 8, 20, categories=("Math",)) + tried("b", 18, 20, categories=("String",))
    assert order(ask("a", "b", categories=("String",)), records) == ["b", "a"]
    assert order(ask("b", "a", categories=("Math",)), records) == ["a", "b"]
    both = [Posterior(records).estimate("a", stage=Stage.FIX, language="python", categories=c).probability
            for c in (("Math",), ("Math", "String"), ("String",))]  # fmt: skip
    assert both[0] > both[1] > both[2]


def test_who_solves_what_others_fail_goes_next() -> None:
    records: list[AttemptRecord] = []
    for n in range(30):
        hard = n % 3 == 0
        records.append(attempt(f"t{n}", 0, "strong", not hard))
        records.append(attempt(f"t{n}", 1, "twin", not hard))  # as good as strong, on the same tasks
        records.append(attempt(f"t{n}", 2, "odd", hard))  # worse, but on other tasks
    assert order(ask("odd", "twin", "strong"), records)[-1] == "odd"
    assert order(ask("odd", "twin", "strong", failed=("strong",)), records) == ["odd", "twin"]
    estimate = Posterior(records).estimate("odd", stage=Stage.FIX, language="python", failed=("strong", "twin"))
    assert (estimate.after_wins, estimate.after_tries) == (10, 10) and estimate.probability > 0.9


def test_money_and_waiting_count() -> None:
    dear = tried("dear", 9, 10, usage=Usage(seconds=2, cost=0.5)) + tried("cheap", 8, 10)
    assert order(ask("dear", "cheap"), dear) == ["dear", "cheap"]
    assert order(ask("dear", "cheap"), dear, RoutingWeights()) == ["cheap", "dear"]
    slow = tried("slow", 9, 10, usage=Usage(seconds=90)) + tried("quick", 8, 10)
    assert order(ask("slow", "quick"), slow, RoutingWeights()) == ["quick", "slow"]


def test_a_model_never_asked_is_priced_by_its_prices() -> None:
    configs = [
        ModelConfig(name="dear", base_url="https://x", model="d", price_in=50, price_out=500),
        ModelConfig(name="cheap", base_url="https://x", model="c", price_in=0.1, price_out=0.4),
    ]
    choices = rank(ask("dear", "cheap"), posterior=Posterior([]), weights=RoutingWeights(), configs=configs)
    assert [choice.model for choice in choices] == ["cheap", "dear"]
    assert choices[1].cost == pytest.approx(0.375) and choices[1].reason == "not tried for this yet, $0.38 each"


def test_reasons_in_words() -> None:
    records = [*tried("a", 8, 9), attempt("j", 0, "b", False), attempt("j", 1, "a", True)]
    choices = rank(ask("a", "b", failed=("b",)), posterior=Posterior(records), weights=RoutingWeights())
    assert choices[0].reason == "fixes Python in 9 of 10 tries (1 of 1 where b failed), 2 s, $0.001 each"
    free = rank(ask("a"), posterior=Posterior(tried("a", 1, 1, usage=Usage())), weights=RoutingWeights())
    assert free[0].reason.startswith("fixes Python in 1 of 1 try, ") and free[0].reason.endswith(", free")


def stop(question: Ask, left: Budget, records: list[AttemptRecord], weights: RoutingWeights | None = None) -> str:
    answer = next_model(question, left=left, posterior=Posterior(records), weights=weights or RoutingWeights())
    assert isinstance(answer, Stop)
    return answer.reason


def test_when_nobody_is_asked_any_more() -> None:
    records = tried("a", 0, 60, usage=Usage(seconds=20, cost=0.2))
    assert "requests" in stop(ask("a"), Budget(calls=0), [])
    assert "time" in stop(ask("a"), Budget(seconds=0), [])
    assert "money" in stop(ask("a"), Budget(money=-0.1), [])
    assert stop(ask("a", failed=("a",)), PLENTY, []) == "Every model has been tried."
    assert stop(ask(), PLENTY, []) == "No model is configured."
    assert "$0.1000" in stop(ask("a"), Budget(money=0.1), records)
    assert "within the 5 s" in stop(ask("a"), Budget(seconds=5), records)
    assert "would cost more" in stop(ask("a", "b", failed=("b",)), PLENTY, records)
    # but the first of a task is, whatever it did yesterday
    silent = tried("a", 0, 3, usage=Usage(seconds=180))
    for budget, past in ((PLENTY, records), (Budget(seconds=60), silent)):
        assert isinstance(
            next_model(ask("a"), left=budget, posterior=Posterior(past), weights=RoutingWeights()), Choice
        )
    assert isinstance(next_model(ask("a"), left=PLENTY, posterior=Posterior([]), weights=RoutingWeights()), Choice)
