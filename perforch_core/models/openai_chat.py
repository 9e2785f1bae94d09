"""Models behind the OpenAI chat-completions format: hosted ones, Ollama, vLLM, llama.cpp, LM Studio and others.

The only module that imports httpx, and only when a request is made: it costs 80 ms that most commands never need.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perforch_core.models.interface import Completion, Message, ModelError
from perforch_core.models.retry import RETRIED, Again, retry_after, with_retries
from perforch_core.settings import ModelConfig
from perforch_core.task import Usage

if TYPE_CHECKING:
    import ssl

    import httpx

CHARACTERS_PER_TOKEN = 4
"""Where a server does not count, tokens are estimated from the text's length, rounded up."""

LARGEST_ANSWER = 4_000_000
"""Characters (or bytes of a plain body); what comes after is not read."""

_NO_KEY = "no key"


@dataclass(slots=True)
class _Answer:
    """What has come so far."""

    text: list[str] = field(default_factory=list)
    unseen: int = 0  # characters of reasoning, which are paid but not shown
    size: int = 0
    finish: str = ""
    usage: dict[str, Any] | None = None
    done: bool = False


class OpenAIChat:
    """A TextModel over HTTP. `key` is asked for the key, in a thread, before the first request.

    `connect` and `silence` are the longest waits, in seconds, for a connection and for the next byte;
    `attempts` and `base` govern retries.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        key: Callable[[], str | None] = lambda: None,
        connect: float = 10.0,
        silence: float = 180.0,
        attempts: int = 3,
        base: float = 0.5,
    ) -> None:
        self.name = config.name
        self.config = config
        self._find_key = key
        self._key: str | None = None
        self._connect, self._silence = connect, silence
        self._attempts, self._base = attempts, base
        self._refused: dict[str, str | None] = {}  # a parameter the server refuses -> what to send instead

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        timeout: float,
        max_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> Completion:
        """Ask and stream; see TextModel. `timeout` in seconds covers everything, retries included.

        An answer cut short (by the server's limit or a lost connection) comes back with finish "length".
        """
        began = time.monotonic()
        answer = _Answer()
        try:
            async with asyncio.timeout(timeout):
                if self._key is None:
                    self._key = await self._needed_key()
                await self._ask(messages, max_tokens, answer, on_text, timeout)
        except TimeoutError:
            if not answer.done:  # a whole answer whose stream was merely left open is good
                came = "only part of an answer came" if answer.text else "no answer came"
                raise ModelError(
                    f"{self.name}: {came} within {timeout:.3g} s. Allow more time (--budget) or use a faster model.",
                    usage=self._spent(answer, messages, began),
                ) from None
        except ModelError as error:
            error.usage = self._spent(answer, messages, began)
            raise
        text = "".join(answer.text)
        finish = answer.finish or ("stop" if answer.done else "length")
        return Completion(text=text, finish=finish, usage=self._usage(answer, messages, began))

    def _spent(self, answer: _Answer, messages: Sequence[Message], began: float) -> Usage:
        """What a failed request took: only the time, unless text had come, which will be on the bill."""
        return self._usage(answer, messages, began) if answer.text else Usage(seconds=time.monotonic() - began)

    def _usage(self, answer: _Answer, messages: Sequence[Message], began: float) -> Usage:
        counts = answer.usage or {}
        tokens_in, tokens_out = counts.get("prompt_tokens"), counts.get("completion_tokens")
        if not isinstance(tokens_in, int):
            tokens_in = _estimated(sum(len(message.content) for message in messages))
        if not isinstance(tokens_out, int):
            tokens_out = _estimated(sum(map(len, answer.text)) + answer.unseen)
        cost = (tokens_in * self.config.price_in + tokens_out * self.config.price_out) / 1e6
        return Usage(tokens_in=tokens_in, tokens_out=tokens_out, seconds=time.monotonic() - began, cost=cost)

    async def _needed_key(self) -> str:
        key = ((await asyncio.to_thread(self._find_key)) or "").strip()
        if not key and self.config.key_env:
            raise ModelError(
                f"{self.name} needs a key: set the environment variable {self.config.key_env}, "
                f"or run `perforch models add {self.name}` to keep one in the system's keyring."
            )
        if not (key.isascii() and key.isprintable()):
            raise ModelError(f"{self.name}: the key holds characters that no key has; copy it again.")
        return key or _NO_KEY

    async def _ask(
        self,
        messages: Sequence[Message],
        max_tokens: int | None,
        answer: _Answer,
        on_text: Callable[[str], None] | None,
        timeout: float,
    ) -> None:
        import httpx

        deadline = asyncio.get_running_loop().time() + timeout
        limits = httpx.Timeout(connect=self._connect, read=self._silence, write=self._silence, pool=self._connect)
        headers = {"Accept": "text/event-stream, application/json"}
        if self._key and self._key != _NO_KEY:
            headers["Authorization"] = f"Bearer {self._key}"
        # One client per question: it belongs to the running loop, and closing it closes the connection at once.
        async with httpx.AsyncClient(
            timeout=limits, headers=headers, verify=_tls(), trust_env=not self.config.local, follow_redirects=False
        ) as client:

            async def once() -> None:
                await self._adapting(client, messages, max_tokens, answer, on_text)

            await with_retries(once, attempts=self._attempts, base=self._base, deadline=deadline)

    async def _adapting(
        self,
        client: httpx.AsyncClient,
        messages: Sequence[Message],
        max_tokens: int | None,
        answer: _Answer,
        on_text: Callable[[str], None] | None,
    ) -> None:
        """One request; where the server refuses a parameter, again without it (each parameter once)."""
        while True:
            body = self._body(messages, max_tokens)
            refused = await self._request(client, body, answer, on_text)
            if refused is None:
                return
            self._refused[refused[0]] = refused[1]

    def _body(self, messages: Sequence[Message], max_tokens: int | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            **self.config.options,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        limit = max_tokens or self.config.max_tokens
        if limit:
            body["max_tokens"] = limit
        for name, instead in self._refused.items():
            value = body.pop(name, None)
            if value is not None and instead:
                body[instead] = value
        if "stream" not in body:
            body.pop("stream_options", None)
        body["model"] = self.config.model
        body["messages"] = [{"role": message.role, "content": message.content} for message in messages]
        return body

    async def _request(
        self,
        client: httpx.AsyncClient,
        body: dict[str, Any],
        answer: _Answer,
        on_text: Callable[[str], None] | None,
    ) -> tuple[str, str | None] | None:
        """Send and read. Returns a refused parameter (and its new name), or None when `answer` is complete.

        Raises Again for troubles that may pass and ModelError for others.
        """
        import httpx

        try:
            async with client.stream("POST", f"{self.config.base_url}/chat/completions", json=body) as response:
                if response.status_code != 200:
                    return self._refusal(response, await _start_of(response), body)
                await self._read(response, answer, on_text)
        except httpx.TimeoutException as error:
            raise self._silent(error) from None
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise self._unreachable(error) from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ModelError(f"{self.name}: {self.config.base_url!r} is not an address; mend base_url.") from None
        except httpx.HTTPError as error:  # the connection broke
            if answer.text:
                return None
            raise Again(f"{self.name}: the connection broke off ({type(error).__name__}); try again.") from None
        if not answer.text and not answer.done:
            raise Again(f"{self.name}: the server sent nothing that can be read as an answer. {self._advice()}")
        return None

    async def _read(self, response: httpx.Response, answer: _Answer, on_text: Callable[[str], None] | None) -> None:
        async for data in _payloads(response):
            if data.strip() == "[DONE]":
                answer.done = True
                return
            for chunk in _chunks(data):
                self._take(chunk, answer, on_text)
            if answer.size > LARGEST_ANSWER:
                answer.finish = "length"
                return

    def _take(self, chunk: dict[str, Any], answer: _Answer, on_text: Callable[[str], None] | None) -> None:
        """Add one chunk of a stream, or a whole plain body, to the answer."""
        if chunk.get("error"):
            self._failed(chunk["error"], answer)
        if isinstance(chunk.get("usage"), dict):
            answer.usage = chunk["usage"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        part = choice.get("delta") or choice.get("message") or {}
        if not isinstance(part, dict):
            return
        hidden = part.get("reasoning_content") or part.get("reasoning")
        answer.unseen += len(hidden) if isinstance(hidden, str) else 0
        text = _plain(part.get("content"))
        if text:
            answer.text.append(text)
            answer.size += len(text)
            if on_text is not None:
                on_text(text)
        if isinstance(choice.get("finish_reason"), str):
            answer.finish = choice["finish_reason"]
            answer.done = True

    # --- what went wrong, in words --------------------------------------------------------------------------------

    def _failed(self, error: Any, answer: _Answer) -> None:
        """An error inside a stream or a body with code 200."""
        code = error.get("code") if isinstance(error, dict) else None
        said = self._said(error)
        if code in RETRIED and not answer.text:
            raise Again(f"{self.name}: the server reports trouble: {said}")
        raise ModelError(f"{self.name}: the server broke off with an error: {said}")

    def _refusal(self, response: httpx.Response, raw: bytes, body: dict[str, Any]) -> tuple[str, str | None]:
        """The refused parameter, if that is all that is wrong; else raises."""
        status = response.status_code
        error = _error_of(raw)
        said = self._said(error)
        if status in (400, 422):
            refused = _refused_parameter(error, said, body)
            if refused:
                return refused
        if status == 402 or (status == 429 and _is_quota(error, said)):
            raise ModelError(
                f"{self.name}: the account's credit or quota is used up: {said} Top it up, or use another model."
            )
        if status in RETRIED:
            wait = retry_after(response.headers.get("retry-after"))
            word = "is asked too often (429)" if status == 429 else f"has trouble ({status})"
            raise Again(f"{self.name}: the server {word}: {said} Try later or use another model.", wait=wait)
        raise ModelError(f"{self.name}: {self._explained(response, said)}")

    def _explained(self, response: httpx.Response, said: str) -> str:
        status, config = response.status_code, self.config
        if status == 401 and self._key == _NO_KEY:
            return (
                f"{config.origin} wants a key. Name its environment variable in key_env, "
                f"or run `perforch models add {self.name}`."
            )
        if status in (401, 403):
            source = f"the environment variable {config.key_env}" if config.key_env else "the keyring"
            return f"the key was refused ({status}): {said} Check {source}, or run `perforch models add {self.name}`."
        if status == 404:
            return (
                f"{config.base_url} has no model {config.model!r}, or it is not the right address (404): {said} "
                "`perforch models list` shows what local servers offer; base_url usually ends in /v1."
            )
        if 300 <= status < 400:
            return f"{config.base_url} redirects to {response.headers.get('location', '?')}; put that into base_url."
        if status == 413 or "context length" in said or "maximum context" in said:
            return f"the request is too long for this model: {said} Use a model with a larger context."
        return f"the server refused the request ({status}): {said}"

    def _silent(self, error: httpx.TimeoutException) -> Exception:
        import httpx

        if isinstance(error, httpx.ConnectTimeout):
            return Again(
                f"{self.name}: {self.config.origin} did not answer within {self._connect:.0f} s. {self._advice()}"
            )
        return ModelError(f"{self.name}: the server was silent for {self._silence:.0f} s. {self._advice()}")

    def _unreachable(self, error: Exception) -> Exception:
        text = str(error)
        if "CERTIFICATE" in text.upper():
            return ModelError(
                f"{self.name}: the certificate of {self.config.origin} is not trusted. "
                "Behind a company proxy, point SSL_CERT_FILE at its certificates."
            )
        if "getaddrinfo" in text or "Name or service" in text or "nodename" in text or "name resolution" in text:
            return Again(f"{self.name}: there is no server named {self.config.origin}. {self._advice()}")
        return Again(f"{self.name}: cannot connect. {self._advice()}")

    def _advice(self) -> str:
        if self.config.local:
            return f"Is the server running at {self.config.base_url}?"
        return f"Check the network and base_url ({self.config.base_url})."

    def _said(self, error: Any) -> str:
        """The server's own words, shortened, without the key."""
        if isinstance(error, dict):
            error = error.get("message") or error.get("detail") or error.get("code") or error
        text = error if isinstance(error, str) else json.dumps(error)
        if self._key and self._key != _NO_KEY:
            text = text.replace(self._key, "[key]")
        text = re.sub(r"\b(sk-|Bearer\s+)\S+", "[key]", text)  # some servers repeat a part of it
        text = " ".join(text.split())
        text = text if len(text) <= 300 else text[:297] + "..."
        return text if text.endswith((".", "!", "?")) else text + "."


def _estimated(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Loading the certificates takes 20 ms: once per process."""
    import httpx

    return httpx.create_ssl_context()


async def _payloads(response: httpx.Response) -> AsyncIterator[str]:
    """The data of each event; a server that does not stream gives its whole body as one."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        from httpx_sse import EventSource

        async for event in EventSource(response).aiter_sse():
            yield event.data
        return
    body = (await _start_of(response, LARGEST_ANSWER)).decode(errors="replace").strip()
    if body.startswith(("data:", ":", "event:", "id:")):  # events under a wrong content type
        for line in re.split(r"\r\n|\n|\r", body):
            if line.startswith("data:"):
                yield line[5:]
    else:
        yield body


def _chunks(data: str) -> list[dict[str, Any]]:
    """The JSON objects in one event. What cannot be read is left out: a broken line must not cost the answer."""
    found = []
    # A server that forgets the empty line between events makes several of them look like one.
    for text in [data] if _json(data) is not None else data.split("\n"):
        value = _json(text)
        if isinstance(value, dict):
            found.append(value)
    return found


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _plain(content: Any) -> str:
    """The text of a message: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return ""


async def _start_of(response: httpx.Response, most: int = 64_000) -> bytes:
    """The first `most` bytes of the body; a connection that breaks meanwhile gives what had come."""
    import httpx

    parts: list[bytes] = []
    size = 0
    try:
        async for part in response.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size >= most:
                break
    except httpx.RemoteProtocolError:
        if response.status_code == 200:
            raise
    return b"".join(parts)[:most]


def _error_of(raw: bytes) -> Any:
    """The error in a body: an object, else the text itself."""
    text = raw.decode(errors="replace")
    value = _json(text)
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        return value.get("error") or value
    return re.sub(r"<[^>]*>", " ", text) or "no reason given"


def _is_quota(error: Any, said: str) -> bool:
    code = str(error.get("code") or error.get("type") or "") if isinstance(error, dict) else ""
    return "insufficient" in code or "insufficient_quota" in said or "billing" in said.lower()


def _refused_parameter(error: Any, said: str, body: dict[str, Any]) -> tuple[str, str | None] | None:
    """The parameter of `body` that the server complains of, and the name it wants instead, if any."""
    ours = [name for name in body if name not in ("model", "messages")]
    named = str(error.get("param") or "") if isinstance(error, dict) else ""
    found = next((name for name in ours if named == name or named.startswith(name + ".")), None)
    # Longest first: "stream_options" before "stream".
    for name in sorted(ours, key=len, reverse=True):
        found = found or (name if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", said) else None)
    if found is None:
        return None
    return (
        (found, "max_completion_tokens") if found == "max_tokens" and "max_completion_tokens" in said else (found, None)
    )
