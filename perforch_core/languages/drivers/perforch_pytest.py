"""Runs chosen tests under the project's own pytest and reports each by name over the sandbox's channel.

Standard library and pytest only, valid for Python 3.8. See perforch_probe.py for how the target is watched.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile

import perforch_probe
import pytest

# Plugins that would run tests elsewhere, in another order, or more than once; said only where they are installed.
_QUIET = (
    ("xdist", ["-n", "0"]),
    ("pytest_cov", ["--no-cov"]),
    ("pytest_randomly", ["-p", "no:randomly"]),
    ("pytest_rerunfailures", ["-p", "no:rerunfailures"]),
    ("pytest_benchmark", ["--benchmark-disable"]),
    ("_hypothesis_pytestplugin", ["--hypothesis-seed=0"]),
)


# pytest parses whole files again for every traceback it shows: 0.4 s each where files have thousands of lines.
_FULL_TRACEBACKS = 6


class Plugin(object):
    """Reports collection, outcomes and what reached the target."""

    def __init__(self, channel, settings, probe):
        self.channel = channel
        self.probe = probe
        self.name = settings["symbol"].rsplit(".", 1)[-1]
        self.chosen = None if settings["select"] is None else set(settings["select"])
        self.unwanted = set(settings["skip"])
        self.alarm = perforch_probe.Alarm(settings["test_seconds"])
        self.late = 0
        self.late_allowed = settings["late_allowed"]
        self.scopes = []
        self.items = []
        self.outcome = None
        self.config = None
        self.failures = 0

    @pytest.hookimpl(hookwrapper=True)
    def pytest_make_collect_report(self, collector):
        """What runs while a file is imported counts for all tests in it."""
        with _Scope(self, collector.nodeid, None):
            yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef, request):
        """What runs in a shared fixture counts for all tests that use it."""
        if fixturedef.scope == "function":
            yield
            return
        node = getattr(request, "node", None)
        with _Scope(self, getattr(node, "nodeid", ""), fixturedef.argname):
            yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_collection_modifyitems(self, session, config, items):
        """Keep the chosen tests, after all other plugins had their say."""
        yield
        self.config = config
        kept = [item for item in items if self._wanted(item.nodeid)]
        if self.chosen is None:
            kept = _likely_first(kept, self.name)
        items[:] = kept
        self.items = kept
        self.probe.foreign.update(m.__name__ for m in (getattr(i, "module", None) for i in kept) if m is not None)
        for start in range(0, len(kept), 500):
            self.channel.send("collected", names=[item.nodeid for item in kept[start : start + 500]])

    def _wanted(self, nodeid):
        return nodeid not in self.unwanted and (self.chosen is None or nodeid in self.chosen)

    def pytest_collectreport(self, report):
        """A file that cannot be collected."""
        if report.failed:
            self.channel.send("uncollected", name=report.nodeid, text=perforch_probe.shortened(report.longreprtext))

    def pytest_runtest_logstart(self, nodeid, location):
        """A test starts."""
        self.probe.begin(nodeid)
        self.outcome = {"outcome": None, "seconds": 0.0, "message": "", "text": ""}
        self.channel.send("start", name=nodeid)

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        """Bound the set-up."""
        self.alarm.start()
        try:
            yield
        finally:
            self.alarm.stop()

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item):
        """Bound the test itself."""
        self.alarm.start()
        try:
            yield
        finally:
            self.alarm.stop()
            self.late += self.alarm.rung

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item):
        """Bound the tear-down."""
        self.alarm.start()
        try:
            yield
        finally:
            self.alarm.stop()

    def pytest_runtest_logreport(self, report):
        """One phase of a test, or one of its subtests."""
        if self.outcome is None:
            return
        now = _outcome(report)
        self.failures += now in ("failed", "error")
        if self.failures == _FULL_TRACEBACKS:  # the others only say what was raised, and where
            self.config.option.tbstyle = "line"
        self.outcome["seconds"] += getattr(report, "duration", 0.0)
        if now is not None and _RANK[now] > _RANK[self.outcome["outcome"]]:
            self.outcome["outcome"] = now
            if now in ("failed", "error"):
                crash = getattr(report.longrepr, "reprcrash", None)
                self.outcome["message"] = perforch_probe.shortened(getattr(crash, "message", "") or "")
                self.outcome["text"] = perforch_probe.shortened(report.longreprtext)

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item, nextitem):
        """Report a test once all its phases are over."""
        yield
        if self.outcome is not None:
            probe = self.probe
            self.channel.send(
                "result",
                name=item.nodeid,
                reached=item.nodeid in probe.reached,
                last=probe.last,
                lines=sorted(probe.lines),
                **self.outcome,
            )
            self.outcome = None
        if self.late >= self.late_allowed:
            item.session.shouldstop = "%d tests ran over their time" % self.late

    def shared(self):
        """The tests that reached the target through an import or a shared fixture."""
        found = []
        for item in self.items:
            names = set(getattr(item, "fixturenames", ()))
            for scope, fixture in self.scopes:
                if item.nodeid.startswith(scope) and (fixture is None or fixture in names):
                    found.append(item.nodeid)
                    break
        return found


def _likely_first(items, name):
    """Tests (all of a class together) that use the target's name go first: there may not be time for all."""
    known = {}

    def likely(item):
        owner = getattr(item, "cls", None) or getattr(item, "function", None)
        if owner not in known:
            functions = vars(owner).values() if isinstance(owner, type) else [owner]
            known[owner] = any(_uses(getattr(f, "__code__", None), name) for f in functions)
        return known[owner]

    return sorted(items, key=lambda item: not likely(item))


def _uses(code, name):
    if code is None:
        return False
    return name in code.co_names or any(_uses(part, name) for part in code.co_consts if isinstance(part, type(code)))


class _Scope(object):
    """Counts hits inside for a scope besides the test that happens to be running."""

    def __init__(self, plugin, nodeid, fixture):
        self.plugin = plugin
        self.scope = nodeid
        self.fixture = fixture

    def __enter__(self):
        probe = self.plugin.probe
        self.before = probe.where
        self.key = "scope:%s:%s" % (self.scope, self.fixture)
        probe.where = self.key

    def __exit__(self, *exc):
        probe = self.plugin.probe
        probe.where = self.before
        if self.key in probe.reached:
            self.plugin.scopes.append((self.scope, self.fixture))


_RANK = {None: 0, "passed": 1, "xfailed": 2, "xpassed": 2, "skipped": 3, "error": 4, "failed": 5}


def _outcome(report):
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.outcome == "failed":
        return "failed" if report.when == "call" else "error"
    if report.outcome == "skipped":
        return "skipped"
    return "passed" if report.outcome == "passed" and report.when == "call" else None


def _watch_rewriting(probe):
    """pytest parses test files itself, to rewrite their asserts; a target inside one is probed there."""
    real = ast.parse

    def parse(source, filename="<unknown>", *rest, **options):
        tree = real(source, filename, *rest, **options)
        if probe.is_target(filename) and isinstance(tree, ast.Module):
            probe.put_into(tree)
        return tree

    rewrite = sys.modules.get("_pytest.assertion.rewrite")
    cached = getattr(rewrite, "_read_pyc", None)
    if cached is None:
        return
    shim = type(ast)("ast")
    shim.__dict__.update(ast.__dict__)
    shim.parse = parse
    rewrite.ast = shim
    rewrite._read_pyc = lambda source, *rest, **options: (
        None if probe.is_target(os.fspath(source)) else cached(source, *rest, **options)
    )


def preload():
    """Import the plugins that pytest will load: most of the time of a small run goes into that."""
    found = importlib.metadata.entry_points()
    plugins = found.select(group="pytest11") if hasattr(found, "select") else found.get("pytest11", ())
    for plugin in plugins:
        try:
            plugin.load()
        except Exception:  # pytest itself will say so
            pass
    for module in ("unittest", "doctest", "pdb", "_pytest.pytester"):
        try:
            importlib.import_module(module)
        except ImportError:
            pass
    hook = getattr(sys.modules.get("_pytest.assertion.rewrite"), "AssertionRewritingHook", None)
    if hasattr(hook, "_warn_already_imported"):
        hook._warn_already_imported = lambda self, name: None


def run(channel, settings, probe):
    """Serve one run."""
    _watch_rewriting(probe)
    plugin = Plugin(channel, settings, probe)
    cache = os.path.join(tempfile.gettempdir(), "pytest-cache")
    arguments = [*list(settings["files"]), "--rootdir", settings["root"], "-o", "cache_dir=" + cache]
    arguments += ["--tb=short", "--capture=fd", "--color=no", "-q", "--show-capture=no"]
    arguments += ["--maxfail=1"] if settings["first_failure"] else ["--maxfail=0", "--continue-on-collection-errors"]
    if int(pytest.__version__.split(".")[0]) >= 8:
        arguments += ["-o", "verbosity_assertions=1"]  # the difference itself, still cut to a few lines
    for module, options in _QUIET:
        if importlib.util.find_spec(module) is not None:
            arguments += options
    sys.argv = ["pytest", *arguments]
    try:
        status = int(pytest.main(arguments, plugins=[plugin]))
    except BaseException as error:  # a SystemExit from an import included
        status = -1
        channel.send("stopped", text=perforch_probe.shortened("%s: %s" % (type(error).__name__, error)))
    perforch_probe.finish(channel, settings, status=status, shared=plugin.shared())


if __name__ == "__main__":
    perforch_probe.serve("pytest", pytest.__version__, preload, run)
