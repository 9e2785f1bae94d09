"""The Python driver: runs in the sandbox under the project's interpreter, holds one version of the target, and does
what the trusted side says, one message at a time. Standard library only, valid for Python 3.8.

Started as a *zygote*: it loads nothing of the user's, receives one descriptor per version over its channel and forks;
the child gives up fork, exec and sockets, then loads the version's text and serves its own channel until it closes.
Messages are JSON behind a 4-byte length. Nothing here decides anything: comparing, clocks and verdicts are outside.
"""

from __future__ import annotations

import array
import base64
import contextlib
import ctypes
import gc
import io
import json
import os
import resource
import signal
import socket
import struct
import sys

import perforch_codec as codec

MAX_FRAME = 1 << 29
STDOUT_KEPT = 20000


@contextlib.contextmanager
def without_collector():
    """Building thousands of objects at once would have the collector walk them over and over."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Channel:
    """Length-prefixed JSON over a stream socket. Holds its own references to what it needs."""

    def __init__(self, sock):
        self.sock = sock
        self.dumps = json.dumps
        self.loads = json.loads

    def send(self, message):
        data = self.dumps(message).encode("ascii")
        self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self):
        """The next message, or None when the other side is gone."""
        head = self._exactly(4)
        if head is None:
            return None
        body = self._exactly(struct.unpack(">I", head)[0])
        if body is None:
            return None
        with without_collector():
            return self.loads(body)

    def _exactly(self, count):
        if count > MAX_FRAME:
            raise ValueError("frame too large")
        pieces = []
        while count:
            piece = self.sock.recv(min(count, 1 << 20))
            if not piece:
                return None
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)


def zygote(channel_fd):
    """Fork one child per descriptor received, until the channel closes."""
    sock = socket.socket(fileno=channel_fd)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children reap themselves
    warm()
    gc.collect()
    gc.freeze()
    sock.sendall(b"R")
    while True:
        descriptors = array.array("i")
        data, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_LEN(descriptors.itemsize))
        if not data:
            return
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        for fd in descriptors:
            if os.fork() == 0:
                sock.close()
                os._exit(child(fd))
            os.close(fd)


def warm():
    """Import what most modules need, so that children find it loaded. Standard library only, no threads."""
    import asyncio  # noqa: F401
    import collections  # noqa: F401
    import copy  # noqa: F401
    import dataclasses  # noqa: F401
    import enum  # noqa: F401
    import functools  # noqa: F401
    import importlib.util  # noqa: F401
    import inspect  # noqa: F401
    import linecache  # noqa: F401
    import re  # noqa: F401
    import traceback  # noqa: F401
    import typing  # noqa: F401

    import perforch_signature  # noqa: F401


def child(fd):
    """Serve one version on `fd`. Returns the exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    channel = Channel(socket.socket(fileno=fd))
    channel.sock.sendall(b"H")  # the kernel attaches our credentials: the trusted side learns our process id
    first = channel.receive()
    if first is None:
        return 0
    drop_output()
    limit(first)
    out = io.StringIO()
    sys.stdout = sys.stderr = out
    sys.stdin = io.StringIO("")
    try:
        server = Server(channel, first, out)
    except BaseException as error:
        channel.send({"error": describe_error(error, first["path"]), "out": out.getvalue()[:STDOUT_KEPT]})
        return 0
    channel.send({"ok": True})
    while True:
        message = channel.receive()
        if message is None:
            return 0
        channel.send(server.answer(message))


def drop_output():
    """What is written past sys.stdout goes nowhere: a flood must not end the zygote that all versions share."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    os.close(null)


def limit(first):
    """Resource limits and the filter by which this process gives up fork, exec and sockets."""
    limits = first["limits"]
    for name, value in (
        ("RLIMIT_DATA", limits["memory"]),
        ("RLIMIT_CPU", limits["cpu"]),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_STACK", None),
    ):
        kind = getattr(resource, name, None)
        if kind is None or value is None:
            continue
        hard = resource.getrlimit(kind)[1]
        value = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(kind, (value, value))
    if first.get("filter"):
        install_filter(base64.b64decode(first["filter"]))


def install_filter(program):
    """Load a seccomp program (an array of struct sock_filter, 8 bytes each) into this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = program.replace(b"PID!", struct.pack("=I", os.getpid()))  # signals are allowed to ourselves only

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "no_new_privs refused")
    if libc.prctl(22, 2, ctypes.byref(fprog), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "seccomp filter refused")


def describe_error(error, path):
    """[type name, message, traceback text shortened to the user's own frames]."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename != __file__ and "importlib" not in f.filename]
    text = "".join(traceback.format_list(own[-12:]) + traceback.format_exception_only(type(error), error))
    try:
        message = str(error)
    except BaseException:
        message = "<the exception cannot be printed>"
    return [codec.type_name(type(error)), message[:2000], text[:6000]]


def load_module(first):
    """Import the target's module with `text` in place of what is on disk."""
    import importlib
    import importlib.machinery
    import importlib.util
    import linecache

    path, name, text = first["path"], first["module"], first["text"]
    data = base64.b64decode(text)

    class Shadow(importlib.machinery.SourceFileLoader):
        def get_data(self, wanted):
            return data if wanted == path else super().get_data(wanted)

        def get_code(self, fullname):
            return self.source_to_code(data, path)  # never the cached byte code of the file on disk

    class Finder:
        @staticmethod
        def find_spec(fullname, parents=None, target=None):
            if fullname != name:
                return None
            places = [os.path.dirname(path)] if os.path.basename(path) == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname, path, loader=Shadow(fullname, path), submodule_search_locations=places
            )

    sys.meta_path.insert(0, Finder)
    sys.path[:] = first["sys_path"] + [p for p in sys.path if p not in first["sys_path"] and p != first["drivers"]]
    sys.dont_write_bytecode = True
    lines = importlib.util.decode_source(data).splitlines(True)
    linecache.cache[path] = (len(data), None, lines, path)
    return importlib.import_module(name)


class Server:
    """Answers the trusted side's messages about one loaded version."""

    def __init__(self, channel, first, out):
        self.path = first["path"]
        self.out = out
        self.inputs = []
        self.ready = None
        self.channel = channel
        os.chdir(first["cwd"])
        self.module = load_module(first)
        self.function, self.owner, self.kind, self.problem = resolve(self.module, first["symbol"])
        self.loop = None
        self.state = State(self.module, first.get("state", ()), self.find_type)

    def answer(self, message):
        try:
            return getattr(self, "do_" + message["op"])(message)
        except codec.CannotDecode as error:
            return {"undecodable": str(error)}
        except codec.TooLarge as error:
            return {"too_large": str(error)}

    def do_describe(self, message):
        import perforch_signature

        return perforch_signature.describe(self.module, self.function, self.owner, self.kind, self.problem)

    def call(self, values, keywords):
        """Call the target with decoded values: the receiver first where there is one."""
        count = len(values) - len(keywords)
        return self.finish(self.function(*values[:count], **dict(zip(keywords, values[count:]))))

    def finish(self, result):
        """Run a coroutine, drain an asynchronous generator; anything else is the result."""
        kind = type(result).__name__
        if kind == "coroutine":
            return self.run(result)
        if kind == "async_generator":

            async def drain():
                return [item async for item in result]

            return iter(self.run(drain()))
        return result

    def run(self, coroutine):
        import asyncio

        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(coroutine)

    def do_call(self, message):
        values = codec.decode_graph(message["args"], self.find_type)
        self.state.restore()
        self.out.seek(0)
        self.out.truncate()
        lines = set()
        tracer = line_tracer(self.path, lines) if message.get("trace") else None
        raised, roots = None, []
        try:
            if tracer:
                sys.settrace(tracer)
            try:
                roots = [self.call(values, message["keywords"])]
                if message.get("twice"):
                    again = codec.decode_graph(message["args"], self.find_type)
                    roots.append(self.call(again, message["keywords"]))
                graph = codec.encode_graph(roots + values)
            finally:
                sys.settrace(None)
        except codec.TooLarge:
            raise
        except BaseException as error:
            raised = describe_error(error, self.path)
            graph = codec.encode_graph([None] + values)
        printed = self.out.getvalue()
        return {
            "id": message["id"],
            "raised": raised,
            "graph": graph,
            "out": printed[:STDOUT_KEPT],
            "lines": sorted(lines),
            "state": self.state.changed(),
        }

    def find_type(self, name):
        """A type by name. Tests may know the target's own module by a shorter or longer name than ours."""
        own = self.module.__name__
        module, _, rest = name.rpartition(".")
        while module and module != own:
            short, long = sorted((module, own), key=len)
            if long.endswith("." + short):
                found = self.module
                for part in rest.split("."):
                    found = getattr(found, part, None)
                if found is not None:
                    return found
            module, _, last = module.rpartition(".")
            rest = last + "." + rest
        return codec.find_type(name)

    def do_load(self, message):
        """Hold inputs for timing; `more` appends to those held."""
        if not message.get("more"):
            self.inputs = []
        with without_collector():
            for item in message.pop("inputs"):
                self.inputs.append(Input(item["args"], item["keywords"], self.find_type))
        gc.collect()
        gc.freeze()
        return {"held": len(self.inputs)}

    def do_prepare(self, message):
        """Copy the arguments of the next block; the clock starts when "go" comes."""
        start, calls = message["start"], message["calls"]
        inputs = self.inputs
        self.ready = [inputs[(start + i) % len(inputs)].fresh(self.find_type) for i in range(calls)]
        self.out.seek(0)
        self.out.truncate()
        function = nothing if message["empty"] else self.function
        if message["empty"]:
            self.block = loop_plain
        else:
            self.block = self.loop_for(function)
        self.target = function
        gc.collect()
        if message.get("trim"):
            trim()
        return {"ready": len(self.ready)}

    def loop_for(self, function):
        import inspect

        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            return lambda f, sets: loop_finish(f, sets, self.finish)
        return loop_drain if message_is_generator(function) else loop_plain

    def do_go(self, message):
        self.block(self.target, self.ready)
        self.ready = None
        return {"done": True}

    def do_outcome(self, message):
        """The outcome of one held input, encoded like a call's."""
        values, keywords = self.inputs[message["index"]].fresh(self.find_type)
        try:
            return {"graph": codec.encode_graph([self.call(values, list(keywords))] + list(values)), "raised": None}
        except codec.TooLarge:
            raise
        except BaseException as error:
            return {"graph": None, "raised": describe_error(error, self.path)}

    def do_profile(self, message):
        """Share of time per line of the file over the held inputs, each called once."""
        import time

        spent = {}
        tracer = line_timer(self.path, spent, time.perf_counter)
        for held in self.inputs:
            values, keywords = held.fresh(self.find_type)
            sys.settrace(tracer)
            try:
                result = self.call(values, list(keywords))
                if type(result).__name__ == "generator":  # until it is drained nothing of it has run
                    for _ in result:
                        pass
            except BaseException:
                pass
            finally:
                sys.settrace(None)
        total = sum(spent.values()) or 1.0
        return {"lines": [[line, seconds / total] for line, seconds in spent.items()]}


STATE_NODES = 500
_PLAIN = frozenset("none bool int float complex str bytes bytearray list tuple set frozenset dict".split())


class State:
    """The module's own variables that hold small plain data: told where a call changes them, and set back before the
    next one, so that every call finds them as they were loaded."""

    def __init__(self, module, names, find_type):
        self.space = module.__dict__
        self.find_type = find_type
        self.held = {}
        self.dirty = False
        room = STATE_NODES
        for name in names:
            wire = self.look(name, room)
            if wire is not None:
                self.held[name] = (self.space[name], wire)
                room -= len(wire["nodes"])

    def look(self, name, room=20 * STATE_NODES):
        """The variable as data, or None where it is not plain or too large."""
        if name not in self.space or type(self.space[name]) not in _STATE_TYPES:
            return None
        try:
            wire = codec.encode_graph([self.space[name]], room)
        except codec.TooLarge:
            return None
        plain = all(node[0] in _PLAIN and len(node) < 3 + (node[0] == "complex") for node in wire["nodes"])
        return wire if plain else None

    def changed(self):
        """What is not as it was loaded, by name."""
        found = {}
        for name, (value, wire) in self.held.items():
            now = self.look(name)
            if now is not None and now != wire:
                found[name] = now
            self.dirty = self.dirty or now != wire or self.space.get(name) is not value
        return found

    def restore(self):
        """Set everything back, in the same objects."""
        if not self.dirty:
            return
        self.dirty = False
        for name, (value, wire) in self.held.items():
            (fresh,) = codec.decode_graph(wire, self.find_type)
            if type(value) in (list, bytearray):
                value[:] = fresh
            elif type(value) in (dict, set):
                value.clear()
                value.update(fresh)
            self.space[name] = value
            self.held[name] = (value, self.look(name))  # a set that was filled anew may have another order


_STATE_TYPES = frozenset(
    (list, dict, set, bytearray, int, float, str, bytes, bool, type(None), tuple, frozenset, complex)
)


def trim():
    """Give freed memory back to the system, so that the next peak starts from what is really held (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):
        pass


def nothing(*args, **kwargs):
    """The empty block's function."""


def loop_plain(function, sets):
    for values, keywords in sets:
        try:
            if keywords:
                function(*values[: -len(keywords)], **dict(zip(keywords, values[-len(keywords) :])))
            else:
                function(*values)
        except Exception:
            pass


def loop_drain(function, sets):
    for values, keywords in sets:
        try:
            count = len(values) - len(keywords)
            for _ in function(*values[:count], **dict(zip(keywords, values[count:]))):
                pass
        except Exception:
            pass


def loop_finish(function, sets, finish):
    for values, keywords in sets:
        try:
            count = len(values) - len(keywords)
            finish(function(*values[:count], **dict(zip(keywords, values[count:]))))
        except Exception:
            pass


def message_is_generator(function):
    import inspect

    return inspect.isgeneratorfunction(inspect.unwrap(function))


class Input:
    """One set of arguments for timing, with the cheapest way to make fresh copies of it.

    What cannot change needs no copy. What can is copied level by level where nothing in it is shared, and decoded
    again otherwise.
    """

    def __init__(self, wire, keywords, find_type):
        self.wire = wire
        self.keywords = tuple(keywords)
        self.values = codec.decode_graph(wire, find_type)
        seen = set()
        self.copiers = [copier(value, seen) for value in self.values]
        if None in self.copiers:
            self.copiers = None

    def fresh(self, find_type):
        if self.copiers is None:
            return codec.decode_graph(self.wire, find_type), self.keywords
        return [copy(value) for copy, value in zip(self.copiers, self.values)], self.keywords


_FLAT = frozenset((int, float, str, bytes, bool, type(None), complex, range))
DEPTH = 4


def is_frozen(value, depth=0):
    """Whether nothing that can change hangs on the value: scalars, enum members, and immutable values of such."""
    kind = type(value)
    if kind in _FLAT:
        return True
    if depth > DEPTH:
        return False
    if kind in (tuple, frozenset) or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
        return are_frozen(value, depth + 1)
    parameters = kind.__dict__.get("__dataclass_params__")
    if parameters is not None and parameters.frozen:
        fields = getattr(value, "__dict__", None)
        return fields is not None and are_frozen(fields.values(), depth + 1)
    enum = sys.modules.get("enum")
    return enum is not None and issubclass(kind, enum.Enum)


def are_frozen(values, depth=0):
    """is_frozen() of all; scalars, which are most there is, are told by their types alone."""
    return _FLAT.issuperset(map(type, values)) or all(is_frozen(value, depth) for value in values)


def same(value):
    """The copier of what cannot change."""
    return value


def copier(value, seen, depth=0):
    """A function that copies values like this one in full, or None where only decoding anew will do.

    `seen` holds the ids of the changeable objects met: one that is met twice is shared, and copies must share it too.
    """
    if is_frozen(value):
        return same
    kind = type(value)
    if kind not in (list, dict, set, bytearray) or id(value) in seen or depth > DEPTH:
        return None
    seen.add(id(value))
    if kind in (set, bytearray):
        return kind.copy
    parts = value if kind is list else value.values()
    if kind is dict and not are_frozen(value):
        return None
    if are_frozen(parts):
        return kind.copy
    copiers = [copier(part, seen, depth + 1) for part in parts]
    if None in copiers:
        return None
    if kind is dict:
        return lambda d: {key: copy(part) for copy, (key, part) in zip(copiers, d.items())}
    return lambda items: [copy(part) for copy, part in zip(copiers, items)]


def line_tracer(path, lines):
    """A trace function that notes which lines of the file run."""

    def local(frame, event, argument):
        if event == "line":
            lines.add(frame.f_lineno)
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename == path else None

    return trace


def line_timer(path, spent, clock):
    """A trace function that adds up, per line of the file, the time until the next line of the same frame.

    Time inside calls counts for the calling line, so that the line that calls something slow shows as hot.
    """

    def trace(frame, event, argument):
        if frame.f_code.co_filename != path:
            return None
        last = [None, 0.0]

        def local(frame, event, argument):
            now = clock()
            if last[0] is not None:
                spent[last[0]] = spent.get(last[0], 0.0) + now - last[1]
            last[0] = frame.f_lineno if event == "line" else None
            last[1] = clock()
            return local

        return local

    return trace


def resolve(module, symbol):
    """(callable, owning class or None, kind, problem). Kinds: function, static, class, method, property."""
    parts = symbol.split(".")
    owner = module
    for part in parts[:-1]:
        owner = getattr(owner, part, None)
        if not isinstance(owner, type):
            return None, None, "nested", "%s is nested in a function, so only tests can judge it" % symbol
    name = parts[-1]
    if not isinstance(owner, type):
        found = getattr(module, name, None)
        if not callable(found):
            return None, None, "missing", "%s is not a callable in the loaded module" % symbol
        return found, None, "function", ""
    if name.startswith("__") and not name.endswith("__"):
        name = "_%s%s" % (owner.__name__.lstrip("_"), name)
    raw = owner.__dict__.get(name)
    if isinstance(raw, staticmethod):
        return getattr(owner, name), None, "static", ""
    if isinstance(raw, classmethod):
        return getattr(owner, name), None, "class", ""
    if isinstance(raw, property):
        return raw.fget, owner, "property", ""
    if hasattr(raw, "func") and not callable(raw):  # functools.cached_property
        return raw.func, owner, "property", ""
    if not callable(raw):
        return None, None, "missing", "%s is not a callable in the loaded module" % symbol
    return raw, owner, "method", ""


if __name__ == "__main__":
    zygote(int(os.environ.pop("PERFORCH_CHANNEL")))
