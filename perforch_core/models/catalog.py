"""The models there are: those configured, and those that local servers offer."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perforch_core.models.answers import code_blocks
from perforch_core.models.interface import Message, ModelError, TextModel
from perforch_core.models.keys import find_key
from perforch_core.models.openai_chat import OpenAIChat
from perforch_core.settings import ModelConfig, Settings
from perforch_core.task import Usage

LOCAL_SERVERS = (
    ("ollama", "http://127.0.0.1:11434/v1"),
    ("lmstudio", "http://127.0.0.1:1234/v1"),
    ("llamacpp", "http://127.0.0.1:8080/v1"),
    ("vllm", "http://127.0.0.1:8000/v1"),
)
"""Servers with the OpenAI format, at their standard ports."""

_NOT_FOR_CODE = (
    "embed",
    "rerank",
    "whisper",
    "tts",
    "bge-",
    "minilm",
    "clip",
    "moderation",
    "dall-e",
    "stable-diffusion",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a round trip to a model went. `words` is one sentence for the user."""

    ok: bool
    words: str
    usage: Usage


def text_models(settings: Settings, *, only: Iterable[str] = ()) -> list[TextModel]:
    """The configured models, or those named in `only`, in the order of the settings.

    Nothing is connected yet. Raises UserError for a name that is not configured.
    """
    names = list(dict.fromkeys(only))
    configs = [settings.model(name) for name in names] if names else list(settings.models)
    return [text_model(config) for config in configs]


def text_model(config: ModelConfig) -> TextModel:
    """One model; its key is looked up at the first request."""
    return OpenAIChat(config, key=functools.partial(find_key, config))


async def discover(
    *, servers: Sequence[tuple[str, str]] = LOCAL_SERVERS, timeout: float = 0.7, known: Iterable[ModelConfig] = ()
) -> list[ModelConfig]:
    """The models of local servers that answer within `timeout` seconds, without those in `known`.

    Only for when the user asks: it connects to ports that may belong to something else. Never raises.
    """
    lists = await asyncio.gather(*(_models_of(url, timeout) for _, url in servers))
    have = {(config.origin.replace("localhost", "127.0.0.1"), config.model) for config in known}
    found = []
    for (server, url), models in zip(servers, lists, strict=True):
        for model in models:
            config = ModelConfig(name=f"{server}/{model}", base_url=url, model=model)
            if (config.origin, model) not in have:
                found.append(config)
    return found


async def _models_of(url: str, timeout: float) -> list[str]:
    """What GET /models lists, without models that cannot write code; [] for anything but a proper answer.

    A plain socket: httpx takes longer to import than the four connections take.
    """
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    path = "/" + url.removeprefix("http://").partition("/")[2]
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                # HTTP/1.0 keeps the answer in one piece: no chunks, closed at its end.
                writer.write(
                    f"GET {path}/models HTTP/1.0\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode()
                )
                await writer.drain()
                answer = await reader.read(-1) if (head := await reader.readline()).split()[1:2] == [b"200"] else head
            finally:
                writer.close()
        data = json.loads(answer.partition(b"\r\n\r\n")[2])
        names = [item["id"] for item in data["data"] if isinstance(item.get("id"), str)]
    except (OSError, TimeoutError, ValueError, KeyError, TypeError, AttributeError, asyncio.LimitOverrunError):
        return []
    return [name for name in names if not any(word in name.lower() for word in _NOT_FOR_CODE)]


async def test(model: TextModel, *, timeout: float = 60.0) -> Trial:
    """Ask the model for a small function. Never raises but for cancellation."""
    messages = [
        Message("system", "You write Python. Answer with one fenced code block and nothing else."),
        Message("user", "Write a function `double(x)` that returns twice its argument."),
    ]
    try:
        answer = await model.complete(messages, timeout=timeout)
    except ModelError as error:
        return Trial(ok=False, words=str(error), usage=error.usage)
    usage = answer.usage
    took = f"{usage.seconds:.1f} s, {usage.tokens_in} tokens in, {usage.tokens_out} out"
    took += f", ${usage.cost:.4f}" if usage.cost else ""
    blocks = code_blocks(answer.text, "python", symbol="double")
    if not blocks or "def double" not in blocks[0]:
        what = "an empty answer" if not answer.text.strip() else "an answer without the function asked for"
        return Trial(
            ok=False, words=f"{model.name} answers, but gave {what} ({took}). Is it a chat model?", usage=usage
        )
    return Trial(ok=True, words=f"{model.name} works: {took}.", usage=usage)
