"""What the test drivers share, inside the project's interpreter: the channel, and the probe in the target function.

The probe is compiled in: when the target's file is loaded, from the text that the sandbox shows and never from a
cached .pyc, a call is put at the start of the target's body. No wrapper, so identity, signature, tracebacks and line
numbers stay as they are, whatever the function is (method, static, nested, async, generator) and however the tests
come by it. Standard library only, valid for Python 3.8.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.machinery
import json
import linecache
import os
import signal
import socket
import sys
import threading
import time

HIT = "__perforch_hit__"
LINE = "__perforch_line__"
MAX_CALL_NODES = 20000
MAX_CALL_BYTES = 256 << 10
MAX_CALLS_BYTES = 8 << 20
MAX_CALLS_PER_TEST = 40
MAX_ENCODING_SECONDS = 2.0
MAX_ATTEMPTS = 5000
MAX_TEXT = 8000


class Channel(object):
    """JSON lines over the socket that the sandbox gives; every message carries the nonce received at the start."""

    def __init__(self):
        fd = int(os.environ.pop("PERFORCH_CHANNEL"))
        os.set_inheritable(fd, False)
        self._socket = socket.socket(fileno=fd)
        self._owner = os.getpid()
        self._lock = threading.RLock()
        self._dumps = json.dumps
        self._getpid = os.getpid
        self._nonce = ""

    def configuration(self):
        """The next line from outside: what to run. None when there will be no more."""
        pieces = []
        while True:
            piece = self._socket.recv(1 << 16)
            pieces.append(piece)
            if not piece:
                return None
            if piece.endswith(b"\n"):
                break
        settings = json.loads(b"".join(pieces).decode("utf-8"))
        self._nonce = settings.pop("nonce")
        return settings

    def adopt(self):
        """From now on this process is the one that speaks."""
        self._owner = self._getpid()

    def end_line(self):
        """Whatever a child left half said ends here."""
        self._socket.sendall(b"\n")

    def send(self, kind, **fields):
        """One message. A forked child of the tests has nothing to say."""
        if self._getpid() != self._owner:
            return
        fields["kind"] = kind
        fields["nonce"] = self._nonce
        data = self._dumps(fields).encode("utf-8") + b"\n"
        with self._lock:
            self._socket.sendall(data)


class TestTimeout(BaseException):
    """One test ran over its time. Not an Exception, so that tests and targets do not swallow it."""

    __test__ = False


class Alarm(object):
    """Ends one test that runs over its time, as far as a signal between two byte codes can."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.rung = False

    def _ring(self, number, frame):
        self.rung = True
        raise TestTimeout("did not finish within %.3g s" % self.seconds)

    def start(self):
        """Arm it, unless the project uses the signal itself or there is none."""
        self.rung = False
        if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGALRM) is signal.SIG_DFL:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self.seconds, 1.0)  # again each second, should it be swallowed

    def stop(self):
        """Disarm it, if it is ours."""
        if hasattr(signal, "setitimer") and signal.getsignal(signal.SIGALRM) == self._ring:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)


# --- the target in its file ---------------------------------------------------------------------------------------


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*_FUNCTIONS, ast.ClassDef)


def definitions(tree, symbol):
    """All definitions of the dotted symbol in source order, each as (function node, its parent)."""
    found = [(tree, None)]
    for part in symbol.split("."):
        found = [(node, scope) for scope, _ in found for node in _own_scopes(scope) if node.name == part]
    return [(node, parent) for node, parent in found if isinstance(node, _FUNCTIONS)]


def _own_scopes(scope):
    """The functions and classes directly in a scope, those under if, try, with and loops included."""
    found = []
    pending = list(reversed(list(ast.iter_child_nodes(scope))))
    while pending:
        node = pending.pop()
        if isinstance(node, _SCOPES):
            found.append(node)
        elif not isinstance(node, (ast.expr, ast.Lambda)):
            pending.extend(reversed(list(ast.iter_child_nodes(node))))
    return found


def has_docstring(body):
    """Whether a body starts with a docstring."""
    return (
        bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(getattr(body[0], "value", None), ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def put_probe(tree, symbol, ordinal, lines):
    """Put the probe into the target's body, in place; with `lines`, also a mark before each of its statements."""
    found = definitions(tree, symbol)
    if not found:
        return
    node, parent = found[min(ordinal, len(found) - 1)]
    if lines:
        _mark_lines(node)
    body = node.body
    # On the line of the def: no traceback or line table shows it, for it never raises.
    call = ast.copy_location(ast.Expr(_hit_call(node, parent)), node)
    body.insert(1 if has_docstring(body) else 0, call)
    ast.fix_missing_locations(tree)


def _hit_call(node, parent):
    arguments = node.args
    positional = [a.arg for a in getattr(arguments, "posonlyargs", []) + arguments.args]
    if isinstance(parent, ast.ClassDef) and positional and _is_classmethod(node):
        positional = positional[1:]
    keyword_only = [a.arg for a in arguments.kwonlyargs]
    variadic = _name(arguments.vararg.arg) if arguments.vararg else _tuple([])
    mapping = _name(arguments.kwarg.arg) if arguments.kwarg else ast.Constant(None)
    names = ast.Tuple([ast.Constant(n) for n in keyword_only], ast.Load())
    return ast.Call(_name(HIT), [_tuple(positional), variadic, names, _tuple(keyword_only), mapping], [])


def _is_classmethod(node):
    if node.name in ("__new__", "__init_subclass__", "__class_getitem__"):
        return True
    return any(isinstance(d, ast.Name) and d.id == "classmethod" for d in node.decorator_list)


def _name(text):
    return ast.Name(text, ast.Load())


def _tuple(names):
    return ast.Tuple([_name(n) for n in names], ast.Load())


def _mark_lines(function):
    pending = [function]
    while pending:
        node = pending.pop()
        pending.extend(ast.iter_child_nodes(node))
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                setattr(node, field, _marked(node, field, block))


def _marked(node, field, block):
    out = []
    if field == "body" and isinstance(node, _SCOPES) and has_docstring(block):
        out, block = [block[0]], block[1:]
    if isinstance(node, ast.ExceptHandler) and block:
        out.append(_mark(node.lineno, node.lineno, block[0]))
    for statement in block:
        last = statement.end_lineno
        inner = getattr(statement, "body", None) or getattr(statement, "cases", None)
        if isinstance(inner, list) and inner:
            last = max(statement.lineno, getattr(inner[0], "lineno", statement.lineno + 1) - 1)
        out.append(_mark(statement.lineno, last, statement))
        out.append(statement)
    return out


def _mark(first, last, near):
    call = ast.Call(_name(LINE), [ast.Constant(first), ast.Constant(last)], [])
    return ast.copy_location(ast.Expr(call), near)


# --- recording ----------------------------------------------------------------------------------------------------


class Probe(object):
    """Knows which test is running, which tests reached the target, and with what arguments."""

    def __init__(self, channel, settings):
        import perforch_codec

        perforch_codec._drain = _refuse  # an argument that is used up by looking at it must not be looked at
        self._codec = perforch_codec
        self._channel = channel
        self._path = os.path.realpath(settings["path"])
        self._text = settings.get("text")
        self._base = os.path.basename(self._path)
        self._symbol = settings["symbol"]
        self._ordinal = settings["ordinal"]
        self._lines = settings["lines"]
        self._left = settings["calls"]
        self._bytes = MAX_CALLS_BYTES
        self._attempts = MAX_ATTEMPTS
        self._seconds = MAX_ENCODING_SECONDS
        self._known = {}
        self._taken = {}
        self._busy = False
        self.where = ""
        self.reached = set()
        self.lines = set()
        self.last = None
        self.foreign = set()

    def install(self):
        """From now on the target's file is loaded with the probe in it."""
        setattr(builtins, HIT, self._hit)
        setattr(builtins, LINE, self._line)
        if self._text is not None:
            # No time stamp: linecache then never looks at the file for it.
            linecache.cache[self._path] = (len(self._text), None, self._text.splitlines(True), self._path)
        loader = importlib.machinery.SourceFileLoader
        original = loader.get_code

        def get_code(loader_self, fullname):
            path = loader_self.get_filename(fullname)
            if not self.is_target(path):
                return original(loader_self, fullname)
            return self.compiled(loader_self.get_data(path) if self._text is None else self._text, path)

        loader.get_code = get_code

    def is_target(self, path):
        """Whether a file name means the target's file."""
        if not isinstance(path, str) or os.path.basename(path) != self._base:
            return False
        return os.path.realpath(path) == self._path

    def compiled(self, data, path):
        """The code of the target's file with the probe. Raises SyntaxError as the plain text would."""
        try:
            tree = ast.parse(data, path)
            self.put_into(tree)
            return compile(tree, path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError):
            return compile(data, path, "exec", dont_inherit=True)

    def put_into(self, tree):
        """Put the probe into a parsed target file."""
        put_probe(tree, self._symbol, self._ordinal, self._lines)

    def begin(self, where):
        """A test (or the collection of a file) starts."""
        self.where = where
        self.lines = set()
        self.last = None

    def _line(self, first, last):
        self.lines.update(range(first, last + 1))

    def _hit(self, positional, variadic, names, values, mapping):
        if self._busy:
            return
        self.reached.add(self.where)
        self.last = None
        if self._left > 0 and self._attempts > 0 and self._taken.get(self.where, 0) < MAX_CALLS_PER_TEST:
            self._busy = True
            began = time.perf_counter()
            try:
                self._capture(positional, variadic, names, values, mapping or {})
            except Exception:  # what cannot be encoded is not captured; the test must not notice
                pass
            finally:
                self._busy = False
                self._attempts -= 1
                self._seconds -= time.perf_counter() - began
                if self._seconds < 0:
                    self._left = 0

    def _capture(self, positional, variadic, names, values, mapping):
        roots = list(positional) + list(variadic) + list(values) + list(mapping.values())
        keywords = list(names) + list(mapping)
        wire = self._codec.encode_graph(roots, MAX_CALL_NODES)
        if not _can_travel(wire["nodes"], self.foreign):
            return
        text = json.dumps([wire, keywords])
        key = hashlib.sha1(text.encode("utf-8")).digest()
        if key not in self._known:
            if len(text) > min(MAX_CALL_BYTES, self._bytes):
                return
            self._known[key] = len(self._known)
            self._bytes -= len(text)
            self._left -= 1
            self._taken[self.where] = self._taken.get(self.where, 0) + 1
            size = max([len(r) for r in roots if isinstance(r, (list, tuple, str, bytes, dict, set))] or [0])
            self._channel.send("call", wire=wire, keywords=keywords, size=size)
        self.last = self._known[key]


def _refuse(value):
    raise ValueError("an iterator")


def _can_travel(nodes, foreign):
    """Whether another process can build these values: nothing opaque, no local types, none of the tests' own."""
    for node in nodes:
        tag = node[0]
        if tag == "opaque":
            return False
        name = None
        if tag in ("record", "enum"):
            name = node[1]
        elif tag == "special" and node[1] in ("function", "type", "module"):
            name = node[2]
        elif tag in ("list", "tuple", "set", "frozenset", "dict", "int", "float", "str") and len(node) > 2:
            name = node[2]
        if name is not None and ("<" in name or any(name == m or name.startswith(m + ".") for m in foreign)):
            return False
    return True


def shortened(text):
    """The start and the end of a long text."""
    text = str(text)
    if len(text) <= MAX_TEXT:
        return text
    return text[: MAX_TEXT // 2] + "\n[...]\n" + text[-MAX_TEXT // 2 :]


def serve(runner, version, preload, run):
    """Be a test driver: `run(channel, settings, probe)` once, or, told to stay warm, in a fork for every request.

    The drivers' own folder leaves sys.path. `preload()` imports what every run needs.
    """
    channel = Channel()
    settings = channel.configuration()
    here = os.path.dirname(os.path.abspath(__file__))
    import perforch_codec  # noqa: F401  while its folder is still on the path

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    warm = settings.get("warm", False)
    if warm:
        preload()
        for name in settings["preload"]:
            _load(name)
    channel.send("hello", runner=runner, version=version, clean=not warm or _may_fork(settings["root"]))
    if not warm:
        _run(channel, settings, run)
    while True:
        channel.end_line()
        settings = channel.configuration()
        if settings is None:
            os._exit(0)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            channel.adopt()
            quiet = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(quiet, descriptor)
            _run(channel, settings, run)
        _wait(pid, settings["seconds"])
        channel.end_line()
        channel.send("ended")


def _load(name):
    if name not in sys.modules:
        try:
            importlib.import_module(name)
        except BaseException:  # the run that needs it will say so
            pass


def _may_fork(root):
    """Whether nothing of the project was loaded and no thread was started by what was loaded beforehand."""
    try:
        threads = len(os.listdir("/proc/self/task"))
    except OSError:
        threads = threading.active_count()
    return threads == 1 and not any(_is_own(module, root) for module in list(sys.modules.values()))


def _is_own(module, root):
    """Whether a module is the project's own, not one of its environment, which may lie in the same folder."""
    path = getattr(module, "__file__", None)
    if not isinstance(path, str):
        return False
    inside = os.path.realpath(path).startswith(os.path.join(os.path.realpath(root), ""))
    return inside and not path.startswith((os.path.join(sys.prefix, ""), os.path.join(sys.base_prefix, "")))


def _foreign_modules(root):
    """What a run has loaded besides the project's own, in the order of loading."""
    found = []
    for name, module in list(sys.modules.items()):
        if getattr(module, "__spec__", None) is None or getattr(module, "__name__", None) != name:
            continue
        real = getattr(module, "__file__", None) or name in sys.builtin_module_names
        if real and "tests" not in name.split(".") and not name.startswith("perforch_") and not _is_own(module, root):
            found.append(name)
    return found[:5000]


def _run(channel, settings, run):
    probe = Probe(channel, settings)
    probe.install()
    try:
        run(channel, settings, probe)
    finally:
        os._exit(1)  # run() leaves by finish()


def _wait(pid, seconds):
    """Wait for a child and end its whole session when its time is up."""
    deadline = time.monotonic() + seconds
    pause = 0.001
    while True:
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass


def finish(channel, settings, **fields):
    """Say that the run is complete and leave at once: threads and exit handlers of the tests have no more say."""
    sys.stdout.flush()
    sys.stderr.flush()
    if settings["modules"]:
        fields["modules"] = _foreign_modules(settings["root"])
    channel.send("done", **fields)
    os._exit(0)
