"""What a program sees, what it may use, and what is told of it afterwards."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from perforch_core.sandbox import Command, Ended, Limits, Policy, Sandbox
from perforch_core.sandbox.interface import MOST_SHADOWS
from perforch_core.task import EnvironmentProblem

PYTHON = tuple(Path(p) for p in {sys.prefix, sys.base_prefix} if Path(p) != Path("/usr"))


async def test_streams_and_exit_code(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    code = "import sys; n = len(sys.stdin.buffer.read()); print(n, end=''); sys.stderr.write('e'); sys.exit(7)"
    outcome = await sandbox.run(python(code, stdin=b"x" * 300_000))
    assert (outcome.ended, outcome.returncode) == (Ended.EXITED, 7)
    assert (outcome.stdout, outcome.stderr) == (b"300000", b"e")
    assert not outcome.ok


async def test_environment_is_exactly_what_was_given(sandbox: Sandbox, python, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("API_KEY", "secret")
    outcome = await sandbox.run(python("import os, json; print(json.dumps(dict(os.environ)))", env={"MINE": "1"}))
    seen = json.loads(outcome.stdout)
    assert seen.pop("MINE") == "1"
    assert set(seen) <= {"PATH", "HOME", "LANG", "TMPDIR", "PERFORCH_CHANNEL", "PWD", "LC_CTYPE"}


async def test_working_folder_and_argument_list(sandbox: Sandbox, python, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    outcome = await sandbox.run(python("import os, sys; print(os.getcwd(), sys.argv[1:])", "a b", "", "\n"))
    assert outcome.stdout.decode() == f"{tmp_path} ['a b', '', '\\n']\n"


async def test_death_by_signal(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    outcome = await sandbox.run(python("import os; os.abort()"))
    assert (outcome.ended, outcome.returncode) == (Ended.SIGNALLED, -6)


async def test_time_and_memory_are_seen_from_outside(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    code = """
import time
block = b"x" * (150 << 20)
end = time.process_time() + 0.4
while time.process_time() < end: pass
time.process_time = lambda: 0
"""
    outcome = await sandbox.run(python(code))
    assert outcome.ok, outcome
    assert 0.4 <= outcome.cpu < 2.0
    assert outcome.wall >= 0.4
    assert 150 << 20 <= outcome.peak_memory < 220 << 20


async def test_time_of_short_lived_children_counts(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    code = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        end = time.process_time() + 0.1
        while time.process_time() < end: pass
        os._exit(0)
    os.wait()
"""
    outcome = await sandbox.run(python(code, policy=Policy.COMPILE))
    assert outcome.ok, outcome
    assert outcome.cpu >= 0.4


async def test_a_program_that_is_missing(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="no-such-compiler was not found"):
        await sandbox.run(Command(argv=("no-such-compiler",), policy=Policy.RUN, cwd=tmp_path))


async def test_a_program_that_is_not_listed_as_readable(sandbox: Sandbox, tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\necho hi\n")
    program.chmod(0o755)
    with pytest.raises(EnvironmentProblem):
        await sandbox.run(Command(argv=(str(program),), policy=Policy.RUN, cwd=Path("/")))
    outcome = await sandbox.run(Command(argv=(str(program),), policy=Policy.RUN, cwd=Path("/"), readable=(tmp_path,)))
    assert outcome.stdout == b"hi\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("")
    (root / "pkg" / "code.py").write_text("value = 'original'\n")
    (root / "pkg" / "other.py").write_text("value = 'other'\n")
    (root / "data").mkdir()
    (root / "data" / "d.txt").write_text("data")
    (root / "link.py").symlink_to("pkg/code.py")
    return root


SHOW = """
import json, os, sys
sys.path.insert(0, os.getcwd())
import pkg.code, pkg.other
new = os.path.join(os.getcwd(), "brand", "new.py")
print(json.dumps([pkg.code.value, pkg.other.value, open("data/d.txt").read(), open("link.py").read(),
                  open(new).read() if os.path.exists(new) else None, sorted(os.listdir("."))]))
"""


async def test_shadowed_files(sandbox: Sandbox, python, project: Path) -> None:  # type: ignore[no-untyped-def]
    before = {path: path.stat() for path in [project, *project.rglob("*")]}
    shadow = {project / "pkg" / "code.py": b"value = 'candidate'\n", project / "brand" / "new.py": b"new"}
    outcome = await sandbox.run(python(SHOW, cwd=project, shadow=shadow))
    assert outcome.ok, outcome
    code, other, data, link, new, names = json.loads(outcome.stdout)
    assert (code, other, data, new) == ("candidate", "other", "data", "new")
    assert names == ["brand", "data", "link.py", "pkg"]
    if sandbox.name == "bubblewrap":
        assert link == "value = 'candidate'\n"
    assert {path: path.stat() for path in [project, *project.rglob("*")]} == before
    original = json.loads((await sandbox.run(python(SHOW, cwd=project))).stdout)
    assert original[0] == "original"
    assert original[4] is None


async def test_two_shadows_at_once_do_not_mix(sandbox: Sandbox, python, project: Path) -> None:  # type: ignore[no-untyped-def]
    import asyncio

    code = "import time; time.sleep(0.1); print(open('pkg/code.py').read())"
    target = project / "pkg" / "code.py"
    outcomes = await asyncio.gather(
        *(sandbox.run(python(code, cwd=project, shadow={target: f"v{n}".encode()})) for n in range(4))
    )
    assert [o.stdout for o in outcomes] == [f"v{n}\n".encode() for n in range(4)]


async def test_a_shadowed_file_keeps_its_place_and_stays_executable(sandbox: Sandbox, project: Path) -> None:
    script = project / "run.sh"
    script.write_text("#!/bin/sh\necho original\n")
    script.chmod(0o755)
    outcome = await sandbox.run(
        Command(
            argv=(str(script),), policy=Policy.RUN, cwd=project, readable=(project,),
            shadow={script: b"#!/bin/sh\necho candidate; pwd\n"},
        )
    )  # fmt: skip
    printed = outcome.stdout.decode().splitlines()
    assert printed[0] == "candidate", outcome
    if sandbox.name == "bubblewrap":
        assert printed[1] == str(project)


async def test_a_project_seen_through_a_symbolic_link(sandbox: Sandbox, python, project: Path) -> None:  # type: ignore[no-untyped-def]
    link = project.parent / "link"
    link.symlink_to(project)
    shadow = {link / "pkg" / "code.py": b"value = 'candidate'\n"}
    command = Command(
        argv=(sys.executable, "-I", "-S", "-c", SHOW), policy=Policy.RUN, cwd=link, readable=(link, *PYTHON),
        shadow=shadow,
    )  # fmt: skip
    outcome = await sandbox.run(command)
    assert outcome.ok, outcome
    assert json.loads(outcome.stdout)[0] == "candidate"


async def test_as_many_shadowed_files_as_promised(sandbox: Sandbox, python, project: Path) -> None:  # type: ignore[no-untyped-def]
    shadow = {project / "many" / f"{n}.txt": str(n).encode() for n in range(MOST_SHADOWS)}
    code = "import os; print(sum(int(open('many/' + n).read()) for n in os.listdir('many')))"
    outcome = await sandbox.run(python(code, cwd=project, shadow=shadow))
    assert outcome.stdout.decode().strip() == str(sum(range(MOST_SHADOWS))), outcome
    with pytest.raises(ValueError, match="shadow"):
        await sandbox.run(python(code, cwd=project, shadow={**shadow, project / "more": b""}))


async def test_a_folder_nobody_else_may_enter(sandbox: Sandbox, python, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "f").write_text("mine")
    outcome = await sandbox.run(
        python("import os; print(os.access('f', os.R_OK), open('f').read())", cwd=private, readable=(private,))
    )
    assert outcome.stdout == b"True mine\n", outcome


async def test_the_project_tests_have_a_place_to_write(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    code = """
import os, subprocess, sys, tempfile
with tempfile.NamedTemporaryFile("w+") as f: f.write("x")
print(subprocess.run([sys.executable, "-c", "print(40 + 2)"], capture_output=True, text=True).stdout)
"""
    outcome = await sandbox.run(python(code, policy=Policy.TEST))
    assert outcome.stdout.strip() == b"42", outcome


async def test_sanitizers_may_reserve_address_space(sandbox: Sandbox, tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "a.c").write_text("#include <stdlib.h>\nint main() { char *p = malloc(8); free(p); return p[0]; }\n")
    built = subprocess.run(
        ["cc", "-fsanitize=address", "-o", str(tmp_path / "a"), str(tmp_path / "a.c")], capture_output=True
    )
    if built.returncode:
        pytest.skip("no address sanitizer here")
    command = Command(
        argv=(str(tmp_path / "a"),), policy=Policy.RUN, cwd=tmp_path, readable=(tmp_path,), reserves_memory=True,
        env={"ASAN_OPTIONS": "detect_leaks=0:symbolize=0"}, limits=Limits(memory=200 << 20),
    )  # fmt: skip
    outcome = await sandbox.run(command)
    assert b"heap-use-after-free" in outcome.stderr, outcome


async def test_runs_leave_no_descriptor_open(sandbox: Sandbox, python) -> None:  # type: ignore[no-untyped-def]
    await sandbox.run(python("pass"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        await sandbox.run(python("pass", shadow={Path("/nowhere/x"): b"x"}))
        with pytest.raises(EnvironmentProblem):
            await sandbox.run(Command(argv=("no-such-program",), policy=Policy.RUN, cwd=Path("/")))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
