"""The OpenAI chat format against a real local server that behaves, and misbehaves, as real ones do."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
import traceback
from email.utils import formatdate
from typing import Any

import pytest
from scripted_server import Exchange, Script, free_port, serve, simple

from perforch_core.models.interface import Completion, Message, ModelError
from perforch_core.models.openai_chat import OpenAIChat
from perforch_core.models.retry import pause, retry_after
from perforch_core.settings import ModelConfig

KEY = "sk-test-0123456789abcdef"
ASK = [Message("system", "be brief"), Message("user", "x" * 400)]


def model(url: str, *, key: str | None = None, **changes: Any) -> OpenAIChat:
    own = {name: changes.pop(name) for name in ("silence", "attempts", "connect") if name in changes}
    config = ModelConfig(name="m1", base_url=url, model="server-model", price_in=2.0, price_out=10.0, **changes)
    return OpenAIChat(config, key=lambda: key, base=0.01, **own)


async def ask(url: str, *, timeout: float = 20, **changes: Any) -> Completion:
    return await model(url, **changes).complete(ASK, timeout=timeout)


async def failure(*scripts: Script, **changes: Any) -> str:
    with serve(*scripts) as server, pytest.raises(ModelError) as caught:
        await ask(server.url, **changes)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def refuse(status: int, body: Any = None, **headers: str) -> Script:
    return lambda exchange: exchange.reply(status, body or {"error": {"message": "no"}}, **headers)


async def test_a_streamed_answer_with_usage_and_cost() -> None:
    seen: list[str] = []
    with serve(simple("hello")) as server:
        chat = model(server.url, key=KEY, options={"temperature": 0.2})
        answer = await chat.complete(ASK, timeout=20, max_tokens=50, on_text=seen.append)
        request = server.requests[0]
    assert answer.text == "hello" == "".join(seen) and len(seen) == 2 and answer.finish == "stop"
    assert (answer.usage.tokens_in, answer.usage.tokens_out) == (11, 7)
    assert answer.usage.cost == pytest.approx((11 * 2 + 7 * 10) / 1e6) and answer.usage.seconds > 0
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.body == {
        "model": "server-model",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "x" * 400}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "temperature": 0.2,
    }


async def test_tokens_are_estimated_where_the_server_does_not_count() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk("y" * 41, finish="stop")

    with serve(script) as server:
        answer = await ask(server.url)
    assert (answer.usage.tokens_in, answer.usage.tokens_out) == (102, 11)


async def test_a_server_that_ignores_stream() -> None:
    body = {"choices": [{"message": {"content": "plain"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    with serve(refuse(200, body)) as server:
        answer = await ask(server.url)
    assert (answer.text, answer.finish, answer.usage.tokens_in) == ("plain", "stop", 3)


async def test_events_under_a_wrong_content_type() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream("text/plain")
        exchange.chunk("still ")
        exchange.chunk("read", finish="stop")

    with serve(script) as server:
        assert (await ask(server.url)).text == "still read"


async def test_broken_lines_comments_and_missing_blank_lines_cost_nothing() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.raw(": keep-alive\n\nnonsense\n\ndata: {broken\n\ndata: 3\n\ndata: null\n\n")
        exchange.raw('data: {"choices":[{"delta":{"content":"a"}}]}\ndata: {"choices":[{"delta":{"content":"b"}}]}\n\n')
        exchange.event({"choices": []})
        exchange.event({"choices": None})
        exchange.event({"choices": [{"delta": None}]})
        exchange.event({"choices": [{"delta": {"role": "assistant", "content": None}}]})
        exchange.event({"choices": [{"delta": {"content": [{"type": "text", "text": "c\u2028"}]}}]})
        exchange.raw(
            'data: {"choices":[{"delta":{"content":"d\u2028e"},"finish_reason":"stop"}]}\r\n\r\ndata: [DONE]\r\n\r\n'
        )

    with serve(script) as server:
        answer = await ask(server.url)
    assert (answer.text, answer.finish) == ("abc\u2028d\u2028e", "stop")


async def test_a_stream_that_stops_in_the_middle_is_cut_short() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk("def f(")

    with serve(script) as server:
        answer = await ask(server.url)
        assert len(server.requests) == 1
    assert (answer.text, answer.finish) == ("def f(", "length")


async def test_a_connection_that_breaks_in_the_middle_is_cut_short() -> None:
    def script(exchange: Exchange) -> None:
        exchange.handler.send_response(200)
        exchange.handler.send_header("Content-Type", "text/event-stream")
        exchange.handler.send_header("Transfer-Encoding", "chunked")
        exchange.handler.end_headers()
        data = 'data: {"choices":[{"delta":{"content":"half"}}]}\n\n'
        exchange.raw(f"{len(data):x}\r\n{data}\r\n40\r\ndata")
        exchange.handler.close_connection = True

    with serve(script) as server:
        answer = await ask(server.url)
    assert (answer.text, answer.finish) == ("half", "length")


async def test_a_break_before_any_text_is_tried_again() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()

    with serve(script, script, simple("third")) as server:
        assert (await ask(server.url)).text == "third"
        assert len(server.requests) == 3


async def test_an_empty_answer_is_an_answer() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk(finish="content_filter")

    with serve(script) as server:
        answer = await ask(server.url)
    assert (answer.text, answer.finish) == ("", "content_filter")


async def test_reasoning_is_paid_but_not_shown() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.event({"choices": [{"delta": {"reasoning_content": "h" * 80}}]})
        exchange.chunk("ok", finish="stop")

    with serve(script) as server:
        answer = await ask(server.url)
    assert answer.text == "ok" and answer.usage.tokens_out == 21


@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_passing_troubles_are_tried_again(status: int) -> None:
    with serve(refuse(status, retry_after="0"), refuse(status), simple("fine")) as server:
        assert (await ask(server.url)).text == "fine"
        assert len(server.requests) == 3


async def test_retry_after_in_seconds_is_honoured() -> None:
    with serve(refuse(429, retry_after="0.4"), simple("fine")) as server:
        began = time.monotonic()
        await ask(server.url)
        assert time.monotonic() - began >= 0.4


async def test_a_wait_longer_than_the_time_left_is_not_waited_for() -> None:
    message = await failure(refuse(429, retry_after="20"), timeout=10)
    assert "429" in message and "20 s" in message


async def test_retries_are_bounded() -> None:
    with serve(refuse(500)) as server:
        with pytest.raises(ModelError, match="500"):
            await ask(server.url, attempts=3)
        assert len(server.requests) == 3


def test_retry_after_values() -> None:
    assert retry_after("7") == 7 and retry_after(None) is None and retry_after("soon") is None
    assert retry_after(formatdate(1000, usegmt=True), now=990) == 10
    assert retry_after(formatdate(1000, usegmt=True), now=2000) == 0 == retry_after("-3")
    assert retry_after("nan") is None


def test_pauses_double_up_to_a_cap_and_vary() -> None:
    assert [pause(n, base=0.5, draw=lambda: 1.0) for n in range(6)] == [0.5, 1, 2, 4, 8, 8]
    assert pause(1, base=0.5, draw=lambda: 0.0) == 0.5


@pytest.mark.parametrize(
    ("status", "body", "parts"),
    [
        (
            401,
            {"error": {"message": f"Incorrect API key provided: {KEY}"}},
            ["401", "M1_KEY", "perforch models add m1"],
        ),
        (403, {"error": "forbidden"}, ["403", "forbidden", "M1_KEY"]),
        (404, {"error": {"message": "unknown"}}, ["'server-model'", "/v1", "perforch models list"]),
        (402, {"error": {"message": "pay"}}, ["credit", "pay"]),
        (429, {"error": {"code": "insufficient_quota", "message": "exceeded"}}, ["quota", "exceeded"]),
        (413, {"detail": "too large"}, ["too long", "too large"]),
        (400, {"error": {"message": "maximum context length is 10"}}, ["too long"]),
        (400, b"<html><h1>Bad\n gateway</h1></html>", ["400", "Bad gateway"]),
        (301, {}, ["redirects"]),
    ],
)
async def test_refusals_say_what_to_do(status: int, body: Any, parts: list[str]) -> None:
    with serve(refuse(status, body), simple()) as server:
        with pytest.raises(ModelError) as caught:
            await ask(server.url, key=KEY, key_env="M1_KEY")
        assert len(server.requests) == 1
    for part in ["m1", *parts]:
        assert part in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_an_error_inside_the_stream() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.event({"error": {"message": "model crashed", "code": 1}})

    assert "model crashed" in await failure(script)


async def test_a_passing_error_inside_the_stream_is_tried_again() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.event({"error": {"message": "overloaded", "code": 503}})

    with serve(script, simple("fine")) as server:
        assert (await ask(server.url)).text == "fine"


async def test_no_server_there() -> None:
    port = free_port()
    with pytest.raises(ModelError, match=f"Is the server running at http://127.0.0.1:{port}/v1"):
        await ask(f"http://127.0.0.1:{port}/v1")


async def test_a_silent_server() -> None:
    def script(exchange: Exchange) -> None:
        exchange.wait_until_gone()

    assert "silent" in await failure(script, silence=0.2)


async def test_the_whole_is_bounded_and_what_came_is_counted() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk("x" * 40)
        exchange.wait_until_gone()

    with serve(script) as server:
        with pytest.raises(ModelError, match=r"only part of an answer came within 0\.3 s") as caught:
            await ask(server.url, timeout=0.3)
        assert await asyncio.to_thread(server.gone.wait, 5)
    assert caught.value.usage.tokens_out == 10 and caught.value.usage.cost > 0


async def test_a_whole_answer_on_a_stream_left_open_is_good() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk("whole", finish="stop")
        exchange.wait_until_gone()

    with serve(script) as server:
        assert (await ask(server.url, timeout=0.3)).text == "whole"


async def test_cancelling_closes_the_connection_at_once() -> None:
    def script(exchange: Exchange) -> None:
        exchange.start_stream()
        exchange.chunk("started")
        exchange.wait_until_gone()

    started = asyncio.Event()
    with serve(script) as server:
        task = asyncio.create_task(model(server.url).complete(ASK, timeout=60, on_text=lambda _: started.set()))
        await asyncio.wait_for(started.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.gone.wait, 5)


async def test_cancelling_during_a_pause() -> None:
    with serve(refuse(429, retry_after="10")) as server:
        task = asyncio.create_task(ask(server.url, timeout=60))
        while not server.requests:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 2)


@pytest.mark.parametrize(
    ("error", "gone", "instead"),
    [
        (
            {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."},
            "max_tokens",
            "max_completion_tokens",
        ),
        ({"message": "Unsupported value", "param": "temperature"}, "temperature", None),
        ({"message": "Unrecognized request argument supplied: stream_options"}, "stream_options", None),
        ({"message": "stream is not supported for this model"}, "stream", None),
    ],
)
async def test_a_refused_parameter_is_left_out_and_stays_out(error: Any, gone: str, instead: str | None) -> None:
    with serve(refuse(400, {"error": error}), simple("fine")) as server:
        chat = model(server.url, options={"temperature": 0.2}, max_tokens=9)
        assert (await chat.complete(ASK, timeout=20)).text == "fine"
        assert (await chat.complete(ASK, timeout=20)).text == "fine"
        bodies = [exchange.body for exchange in server.requests]
    assert [gone in body for body in bodies] == [True, False, False]
    if instead:
        assert bodies[1][instead] == bodies[2][instead] == 9


async def test_two_refused_parameters_and_then_a_final_no() -> None:
    first = refuse(400, {"error": {"message": "bad temperature"}})
    second = refuse(422, {"detail": [{"loc": ["body", "max_tokens"], "msg": "extra fields"}]})
    with serve(first, second, refuse(400, {"error": {"message": "bad temperature"}})) as server:
        with pytest.raises(ModelError, match="bad temperature"):
            await ask(server.url, options={"temperature": 0.2}, max_tokens=9)
        assert len(server.requests) == 3


async def test_a_missing_key_is_named_before_anything_is_sent() -> None:
    with serve(simple()) as server:
        with pytest.raises(ModelError, match=r"M1_KEY.*perforch models add m1"):
            await ask(server.url, key_env="M1_KEY")
        assert server.requests == []


async def test_a_server_that_wants_a_key_nobody_configured() -> None:
    assert "wants a key" in await failure(refuse(401))


@pytest.mark.parametrize("key", ["sk-with\nnewline-inside", "schlüssel"])
async def test_a_damaged_key_is_not_repeated(key: str) -> None:
    with serve(simple()) as server, pytest.raises(ModelError) as caught:
        await ask(server.url, key=key)
    assert "copy it again" in str(caught.value) and key not in "".join(traceback.format_exception(caught.value))


async def test_the_key_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serve(refuse(500), simple("fine")) as server:
        await ask(server.url, key=KEY)
    assert caplog.text and KEY not in caplog.text


def test_importing_the_module_does_not_import_httpx() -> None:
    code = "import sys, perforch_core.models.openai_chat; sys.exit('httpx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
