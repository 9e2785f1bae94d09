"""Which sandbox is chosen where, and that the doctor's evidence agrees with what is promised."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Policy, base, bubblewrap, choose, doctor, landlock
from perforch_core.task import EnvironmentProblem

ROOT = Path(__file__).resolve().parents[3]


async def test_bubblewrap_first(tmp_path: Path) -> None:
    if await bubblewrap.find() is None:
        pytest.skip("bubblewrap does not work on this machine")
    chosen = await choose(cache_dir=tmp_path)
    assert chosen.name == "bubblewrap"
    await chosen.aclose()


async def test_base_where_there_is_no_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    monkeypatch.setenv("PATH", str(tmp_path))
    chosen = await choose(cache_dir=tmp_path / "cache")
    assert chosen.name == "base (seccomp + Landlock)"
    tests = Command(argv=("true",), policy=Policy.TEST, cwd=Path("/"))
    with pytest.raises(EnvironmentProblem, match="consent"):
        await chosen.run(tests)
    await chosen.aclose()
    consented = await choose(allow_weak=True, cache_dir=tmp_path / "cache")
    assert (await consented.run(tests)).ok
    await consented.aclose()


REFUSING = """
import asyncio, errno, sys
from pathlib import Path
import pyseccomp
from perforch_core.sandbox import choose, filters, supervisor
rules = filters._Rules()
rules.deny("unshare", "setns", "mount", "pivot_root")
rules.deny_namespaces()
program = rules.export()
supervisor._prctl(38, 1)
supervisor.load_filter(program)
async def main():
    sandbox = await choose(cache_dir=Path(sys.argv[1]))
    print(sandbox.name)
    await sandbox.aclose()
asyncio.run(main())
"""


def test_base_where_namespaces_are_refused(tmp_path: Path) -> None:
    if landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    command = [sys.executable, "-c", REFUSING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout == "base (seccomp + Landlock)\n", done.stderr


async def test_nothing_without_consent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(landlock, "version", lambda: 0)
    with pytest.raises(EnvironmentProblem, match="Install bubblewrap"):
        await choose(cache_dir=tmp_path / "cache")
    weak = await choose(allow_weak=True, cache_dir=tmp_path / "cache")
    assert weak.guarantees["read secrets"] == "none"
    await weak.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["bubblewrap", "base"])
async def test_the_doctor_proves_what_is_promised(backend: str, tmp_path: Path) -> None:
    if backend == "bubblewrap":
        sandbox = await bubblewrap.find()
    else:
        sandbox = await base.find(cache_dir=tmp_path, allow_weak=False)  # type: ignore[assignment]
    if sandbox is None:
        pytest.skip(f"{backend} does not work on this machine")
    started = time.monotonic()
    proven = await doctor.prove(sandbox)
    assert time.monotonic() - started < 20
    assert proven == dict(sandbox.guarantees)
    await sandbox.aclose()


@pytest.mark.slow
async def test_the_doctor_finds_what_does_not_hold(tmp_path: Path) -> None:
    weak = base.Base(cache_dir=tmp_path, allow_weak=True, landlock_version=0, seccomp=True)
    try:
        proven = await doctor.prove(weak)
    except EnvironmentProblem:
        pytest.skip("this interpreter is out of reach for the uid that root drops to")
    assert proven["read secrets"] == proven["write outside"] == "none"
    assert proven["network"] == "enforced"
    await weak.aclose()
