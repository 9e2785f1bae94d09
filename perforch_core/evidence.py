"""What was established about a candidate: build, tests, cases, strength, comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

VERIFIED_STRENGTH = 0.9
"""The share of mutants an oracle must kill before "verified" may be said."""


class Verdict(StrEnum):
    """The outcome of a comparison, as `perforch compare` prints it."""

    FASTER = "faster"
    SLOWER = "slower"
    INDISTINGUISHABLE = "indistinguishable"
    TRADE_OFF = "trade-off"
    NOT_EQUIVALENT = "not-equivalent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Time before / time after with its confidence interval, at input size `n` (None: unsized).

    `name` is the kind of input ("large", "duplicates"), "" where there is but one.
    """

    estimate: float
    low: float
    high: float
    confidence: float = 0.99
    n: int | None = None
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Peak memory of one call in bytes above the process' idle level, before and after."""

    peak_before: int
    peak_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Log-log exponents of time against input size over the measured sizes, with 99 % intervals."""

    before: float
    after: float
    before_interval: tuple[float, float]
    after_interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How an AFTER compares with a BEFORE in time and memory.

    `speedup` is the confirmed ratio at its stated size; `by_size` one ratio per stratum.
    `seconds_before` and `seconds_after` are per call at the size of `speedup`.
    """

    verdict: Verdict
    speedup: Ratio | None = None
    by_size: tuple[Ratio, ...] = ()
    memory: Memory | None = None
    growth: Growth | None = None
    seconds_before: float | None = None
    seconds_after: float | None = None
    rounds: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestFailure:
    """One failed test: its id, the message of the failure, the traceback as text."""

    __test__ = False

    name: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """The project's tests on one version of the target. `names` lists the tests that passed and reach the target."""

    __test__ = False

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    names: tuple[str, ...] = ()
    failures: tuple[TestFailure, ...] = ()
    seconds: float = 0.0
    problem: str | None = None
    """Why the run itself went wrong (collection error, time-out, pytest missing), or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterexample:
    """An input on which two versions differ, shrunk, as source text a person can paste."""

    call: str
    expected: str
    actual: str
    traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How much the oracle proves. `canary` is False when the tests pass on an aborting body: they are no evidence.

    `canary` is None where there was nothing to try it on.
    """

    mutants: int = 0
    killed: int = 0
    canary: bool | None = None
    survivors: tuple[str, ...] = ()

    @property
    def share(self) -> float | None:
        """The share of mutants killed, 0..1, or None where there were none."""
        return self.killed / self.mutants if self.mutants else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything established about one candidate. `oracles` names what judged it, strongest first.

    `shown`: its author saw all tests and examples that judge it, and no original exists to compare it with.
    """

    oracles: tuple[str, ...] = ()
    builds: bool = True
    tests: TestReport | None = None
    cases: int = 0
    held_back: int = 0
    normal_returns: int = 0
    counterexample: Counterexample | None = None
    strength: Strength = field(default_factory=Strength)
    comparison: Comparison | None = None
    sandbox: str = ""
    notes: tuple[str, ...] = ()
    shown: bool = False

    @property
    def equivalent(self) -> bool | None:
        """True: no difference found on the cases; False: a counterexample; None: no cases were possible."""
        if self.counterexample is not None:
            return False
        return True if self.cases else None

    @property
    def word(self) -> str:
        """The strongest word the evidence allows: "verified", "passes its tests", "unproven" or "refuted"."""
        if self.counterexample or (self.tests and (self.tests.failed or self.tests.problem)) or not self.builds:
            return "refuted"
        tested = bool(self.tests and self.tests.names and self.strength.canary)
        if not tested and not self.cases:
            return "unproven"
        share = None if self.shown else self.strength.share  # an answer made for the examples has strong mutants too
        return "verified" if share is not None and share >= VERIFIED_STRENGTH else "passes its tests"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The keys of `perforch compare --json` that tell of time and memory."""
    speedup = comparison.speedup
    memory, growth = comparison.memory, comparison.growth
    return {
        "verdict": comparison.verdict.value,
        "speedup": speedup
        and {
            "estimate": round(speedup.estimate, 4),
            "low": round(speedup.low, 4),
            "high": round(speedup.high, 4),
            "confidence": speedup.confidence,
            "at": speedup.n,
        },
        "by_size": [
            {
                "n": r.n,
                "name": r.name,
                "estimate": round(r.estimate, 4),
                "low": round(r.low, 4),
                "high": round(r.high, 4),
            }
            for r in comparison.by_size
        ],
        "memory": memory and {"peak_before": memory.peak_before, "peak_after": memory.peak_after},
        "growth": growth and {"before": round(growth.before, 2), "after": round(growth.after, 2)},
        "notes": list(comparison.notes),
    }


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain JSON data: the keys of compare, plus "tests", "oracles" and "word"."""
    tests, example = evidence.tests, evidence.counterexample
    timing = comparison_json(evidence.comparison or Comparison(verdict=Verdict.INDISTINGUISHABLE))
    if evidence.comparison is None:
        timing["verdict"] = None
    return {
        **timing,
        "equivalent": evidence.equivalent,
        "cases": evidence.cases,
        "held_back": evidence.held_back,
        "counterexample": example and {"call": example.call, "expected": example.expected, "actual": example.actual},
        "strength": {
            "mutants": evidence.strength.mutants,
            "killed": evidence.strength.killed,
            "canary": evidence.strength.canary,
            "survivors": list(evidence.strength.survivors),
        },
        "tests": tests
        and {
            "passed": tests.passed,
            "failed": tests.failed,
            "names": list(tests.names),
            "failures": [{"name": f.name, "message": f.message} for f in tests.failures],
        },
        "oracles": list(evidence.oracles),
        "word": evidence.word,
        "sandbox": evidence.sandbox,
        "evidence_notes": list(evidence.notes),
    }
