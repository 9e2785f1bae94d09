"""Which model is asked next: a cascade that weighs the chance of success against money and waiting.

The next model is the one with the greatest value x P(success | who failed so far) - cost weight x dollars - waiting
weight x seconds; the tests stop the cascade, or a negative best, or the budget. Cheap-first cascades follow FrugalGPT
(Chen et al. 2023, arXiv 2305.05176), whose learned judge is replaced by the user's own tests.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from perforch_core.routing.posterior import Estimate, Posterior
from perforch_core.settings import ModelConfig, RoutingWeights
from perforch_core.task import Budget, Stage

_TYPICAL_TOKENS = (1500, 600)
"""Tokens in and out of an ordinary request: what a model never asked is expected to cost by its prices."""

PATIENT_SECONDS = 30.0
"""With so much time left the first model of a task is asked even if it is known to take longer."""

_DOES = {Stage.GENERATE: "writes", Stage.FIX: "fixes", Stage.REFINE: "speeds up"}
_LANGUAGES = {"python": "Python", "go": "Go", "rust": "Rust", "java": "Java", "cpp": "C++"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is to be done: who can be asked, for what, and who has failed at it."""

    models: tuple[str, ...]
    stage: Stage
    language: str
    categories: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model with the reason for its place, in words for the user."""

    model: str
    utility: float
    estimate: Estimate
    cost: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody is asked any more; `reason` says why in one sentence."""

    reason: str


def rank(
    ask: Ask, *, posterior: Posterior, weights: RoutingWeights, configs: Collection[ModelConfig] = ()
) -> list[Choice]:
    """The models that have not failed yet, best first; ties keep the order of `ask.models`."""
    prices = {config.name: config for config in configs}
    choices = []
    for model in ask.models:
        if model in ask.failed:
            continue
        estimate = posterior.estimate(
            model, stage=ask.stage, language=ask.language, categories=ask.categories, failed=ask.failed
        )
        cost = _expected_cost(estimate, prices.get(model))
        utility = weights.value * estimate.probability - weights.cost * cost - weights.waiting * estimate.seconds
        reason = _reason(estimate, cost, ask)
        choices.append(Choice(model=model, utility=utility, estimate=estimate, cost=cost, reason=reason))
    return sorted(choices, key=lambda choice: -choice.utility)


def next_model(
    ask: Ask,
    *,
    left: Budget,
    posterior: Posterior,
    weights: RoutingWeights,
    configs: Collection[ModelConfig] = (),
) -> Choice | Stop:
    """The model to ask now, or why to stop. `left` is what remains of the task's budget.

    The first model of a task is asked whatever its record: an outage yesterday must not silence it for good.
    """
    if left.calls <= 0:
        return Stop("The budget of requests to models is spent.")
    if left.seconds <= 0:
        return Stop("The time is up.")
    if left.money is not None and left.money < 0:
        return Stop("The money for this task is spent.")
    choices = rank(ask, posterior=posterior, weights=weights, configs=configs)
    if not choices:
        return Stop("Every model has been tried." if ask.failed else "No model is configured.")
    affordable = [choice for choice in choices if left.money is None or choice.cost <= left.money]
    if not affordable:
        return Stop(f"No untried model can be asked for the ${left.money:.4f} that remain.")
    # A model known to be too slow for what is left would only be cut off.
    first = not ask.failed
    patient = first and left.seconds >= PATIENT_SECONDS
    quick = [c for c in affordable if patient or c.estimate.seconds <= left.seconds or not c.estimate.tries]
    if not quick:
        return Stop(f"No untried model answers within the {left.seconds:.0f} s that remain.")
    best = quick[0]
    if best.utility < 0 and not first:
        return Stop(f"Asking {best.model} next would cost more than it is likely to bring ({best.reason}).")
    return best


def _expected_cost(estimate: Estimate, config: ModelConfig | None) -> float:
    if estimate.cost is not None:
        return estimate.cost
    if config is None:
        return 0.0
    return (_TYPICAL_TOKENS[0] * config.price_in + _TYPICAL_TOKENS[1] * config.price_out) / 1e6


def _reason(estimate: Estimate, cost: float, ask: Ask) -> str:
    """ "fixes Python in 8 of 9 tries, 2 s, $0.001 each" """
    language = _LANGUAGES.get(ask.language, ask.language)
    price = f"${cost:.2g} each" if cost else "free"
    if not estimate.tries:
        return f"not tried for this yet, {price}"
    tries = "try" if estimate.tries == 1 else "tries"
    words = f"{_DOES[ask.stage]} {language} in {estimate.wins} of {estimate.tries} {tries}"
    if estimate.after_tries:
        words += f" ({estimate.after_wins} of {estimate.after_tries} where {_and(ask.failed)} failed)"
    return f"{words}, {_seconds(estimate.seconds)}, {price}"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
