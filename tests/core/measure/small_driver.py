"""A driver for these tests: a real process that runs real code, without sandbox or project around it.

The process is forked from nothing warm: it is a fresh interpreter each time, started under the wanted hash seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from perforch_core.languages.interface import Block, BuildFailed, Case, DriverDied, Observation
from perforch_core.sandbox import clock
from perforch_core.values import encode

CHILD = r"""
import sys, json, struct, hashlib, copy, base64, time
def decode(wire):
    nodes, made = wire["nodes"], {}
    def value(i):
        if i in made: return made[i]
        tag, *rest = nodes[i]
        if tag == "none": return None
        if tag == "bool": return bool(rest[0])
        if tag == "int": return int(rest[0])
        if tag == "float": return float(rest[0])
        if tag == "str": return rest[0]
        if tag == "bytes": return base64.b64decode(rest[0])
        if tag == "list":
            made[i] = out = []
            out.extend(map(value, rest[0])); return out
        if tag == "dict":
            made[i] = out = {}
            for k, v in rest[0]: out[value(k)] = value(v)
            return out
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[tag](map(value, rest[0]))
    return [value(i) for i in wire["roots"]]
def receive():
    head = sys.stdin.buffer.read(4)
    if len(head) < 4: sys.exit()
    return json.loads(sys.stdin.buffer.read(struct.unpack(">I", head)[0]))
def send(message):
    data = json.dumps(message).encode()
    sys.stdout.buffer.write(struct.pack(">I", len(data)) + data); sys.stdout.buffer.flush()
first = receive()
space = {"__name__": "target"}
try:
    exec(first["text"], space)
except Exception as error:
    send({"error": repr(error)}); sys.exit()
send({"ok": True})
function, held, at = space[first["symbol"]], [], 0
def nothing(*a): pass
def run(f, sets):
    for s in sets:
        try: f(*s)
        except Exception: pass
while True:
    m = receive()
    op = m["op"]
    if op == "load":
        held, at = [decode(w) for w in m["inputs"]], 0
        send({"held": len(held)})
    elif op == "prepare":
        ready = [copy.deepcopy(held[(at + i) % len(held)]) for i in range(m["calls"])]
        send({})
    elif op == "go":
        run(nothing if m["empty"] else function, ready)
        if not m["empty"]: at = (at + len(ready)) % len(held)
        ready = None
        send({})
    elif op == "call":
        try:
            function(*decode(m["args"]))
            send({"raised": None})
        except Exception as error: send({"raised": [type(error).__name__, str(error)]})
    elif op == "digest":
        out = []
        for s in held:
            s = copy.deepcopy(s)
            try: r = ["returned", repr(function(*s))]
            except Exception as error: r = ["raised", type(error).__name__]
            out.append(hashlib.sha256(repr([r, s]).encode()).hexdigest())
        send({"digests": out})
"""


class SmallDriver:
    """The Driver protocol as far as measuring needs it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self, message: dict[str, Any], timeout: float = 60.0) -> dict[str, Any]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin and stdout
        data = json.dumps(message).encode()
        stdin.write(struct.pack(">I", len(data)) + data)
        try:
            async with asyncio.timeout(timeout):
                length = struct.unpack(">I", await stdout.readexactly(4))[0]
                answer: dict[str, Any] = json.loads(await stdout.readexactly(length))
                return answer
        except TimeoutError:
            await self.close()
            raise DriverDied(f"no answer within {timeout:g} s") from None
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise DriverDied("the process ended") from error

    async def call(self, case: Case, *, timeout: float, trace: bool = False) -> Observation:
        try:
            raised = (await self.ask({"op": "call", "args": case.arguments}, timeout))["raised"]
        except DriverDied as died:
            return Observation(dead=str(died))
        return Observation(raised=(raised[0], raised[1]) if raised else None)

    async def load(self, cases: Sequence[Case]) -> int:
        return int((await self.ask({"op": "load", "inputs": [c.arguments for c in cases]}))["held"])

    async def block(self, calls: int, *, timeout: float, empty: bool = False) -> Block:
        await self.ask({"op": "prepare", "calls": calls})
        loop = asyncio.get_running_loop()
        cpu, wall = clock.cpu_seconds(self.process.pid), loop.time()
        await self.ask({"op": "go", "empty": empty}, timeout)
        wall, cpu = loop.time() - wall, clock.cpu_seconds(self.process.pid) - cpu
        return Block(calls=calls, cpu=cpu, wall=wall)

    async def digest(self, *, timeout: float) -> tuple[str, ...]:
        return tuple((await self.ask({"op": "digest"}, timeout))["digests"])

    async def peak(self, index: int, *, timeout: float) -> int:
        clock.reset_peak(self.process.pid)
        idle, _ = clock.memory_bytes(self.process.pid)
        await self.block(1, timeout=timeout)
        return max(0, clock.memory_bytes(self.process.pid)[1] - idle)

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.process._transport.close()  # type: ignore[attr-defined]


def starter(text: str, symbol: str = "f") -> Callable[[int], Awaitable[SmallDriver]]:
    """A Starter for a program text."""

    async def start(seed: int) -> SmallDriver:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", CHILD,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        )  # fmt: skip
        driver = SmallDriver(process)
        answer = await driver.ask({"text": text, "symbol": symbol})
        if "error" in answer:
            await driver.close()
            raise BuildFailed(answer["error"])
        return driver

    return start


def case(*arguments: Any) -> Case:
    return Case(arguments=encode(arguments), origin="docs")
