"""Runs untrusted programs so that they can harm nothing, and says how they ended."""

from __future__ import annotations

import sys
from pathlib import Path

from perforch_core.sandbox.interface import Command, Ended, Limits, Outcome, Policy, Process, Sandbox
from perforch_core.task import EnvironmentProblem

__all__ = ["Command", "Ended", "Limits", "Outcome", "Policy", "Process", "Sandbox", "choose"]


async def choose(*, allow_weak: bool = False, cache_dir: Path | None = None) -> Sandbox:
    """The strongest sandbox that a trial run shows to work on this machine.

    `allow_weak` is the user's explicit consent to a backend that does not hold all base guarantees. `cache_dir` is
    where a backend may keep private copies of projects. Raises EnvironmentProblem when there is none.
    """
    if sys.platform == "linux":
        from perforch_core.sandbox import base, bubblewrap

        if strong := await bubblewrap.find():
            return strong
        if weaker := await base.find(cache_dir=cache_dir, allow_weak=allow_weak):
            return weaker
    raise EnvironmentProblem(
        "No working sandbox: candidates are never run without one. Install bubblewrap (package bubblewrap or bwrap) "
        "and libseccomp, and allow user namespaces (see docs/security.md); then run `perforch doctor`."
    )
