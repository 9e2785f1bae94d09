"""The workflow: understand, generate, fix, refine, decide, record; with rollback to the best so far.

Everything awaits, so a task can be cancelled at any moment; its processes end with the contexts that opened them.
"""

from __future__ import annotations

import asyncio
import itertools
import platform
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from perforch_core import settings as settings_module
from perforch_core.evidence import Comparison, Counterexample, Evidence, Verdict
from perforch_core.languages.interface import Case, Driver, DriverDied, Version
from perforch_core.measure.compare import Starter, compare
from perforch_core.measure.select import halve
from perforch_core.measure.workload import Workload
from perforch_core.models.interface import Hints, Message, RewriteModel, TextModel
from perforch_core.sandbox import Sandbox, choose
from perforch_core.settings import Settings
from perforch_core.stages.ask import NoCandidate, ask
from perforch_core.suggestion import Attempt, Result, Status, minimal_edits, title_of
from perforch_core.task import (
    Candidate,
    EnvironmentProblem,
    Event,
    Reporter,
    Stage,
    Target,
    Task,
    Usage,
    UserError,
    silent,
)
from perforch_core.understanding import Understanding, learn_cases, understanding_of, with_examples
from perforch_core.validation import (
    Validation,
    call_text,
    decide,
    evidence_of,
    failing_examples,
    in_words,
    shown,
    strength_of,
    validate_same,
    validate_wanted,
)

RULE_PROPOSALS = 12
REPAIR_PROPOSALS = 400
MEASURED_AT_MOST = 6
STRENGTH_SECONDS = 20.0
SHOWN_EXAMPLES = 5
