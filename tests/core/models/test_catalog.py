"""Keys, the list of models, discovery and the round trip."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import pytest
from scripted_server import free_port, serve, simple

from perforch_core.models import catalog
from perforch_core.models.keys import find_key, forget_key, store_key, where
from perforch_core.settings import ModelConfig, Settings
from perforch_core.task import EnvironmentProblem, UserError

HOSTED = ModelConfig(name="big", base_url="https://api.example.com/v1", model="b", key_env="PERFORCH_TEST_KEY")


class FileRing(keyring.backend.KeyringBackend):
    """A keyring that keeps its entries in a folder: a real backend, for machines without a desktop."""

    priority = 1

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _file(self, service: str, username: str) -> Path:
        return self.folder / f"{service} {username}".encode().hex()

    def set_password(self, service: str, username: str, password: str) -> None:
        self._file(service, username).write_text(password)

    def get_password(self, service: str, username: str) -> str | None:
        file = self._file(service, username)
        return file.read_text() if file.exists() else None

    def delete_password(self, service: str, username: str) -> None:
        self._file(service, username).unlink()


@pytest.fixture
def ring(tmp_path: Path):
    before = keyring.get_keyring()
    keyring.set_keyring(FileRing(tmp_path))
    yield
    keyring.set_keyring(before)


@pytest.fixture
def no_ring():
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    yield
    keyring.set_keyring(before)


def test_the_environment_goes_before_the_keyring(ring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    store_key(HOSTED, " from-ring\n")
    assert find_key(HOSTED) == "from-ring" and where(HOSTED) == "keyring"
    monkeypatch.setenv("PERFORCH_TEST_KEY", "from-env ")
    assert find_key(HOSTED) == "from-env" and where(HOSTED) == "environment variable PERFORCH_TEST_KEY"
    forget_key(HOSTED)
    forget_key(HOSTED)
    monkeypatch.delenv("PERFORCH_TEST_KEY")
    assert find_key(HOSTED) is None and where(HOSTED) == "missing: set PERFORCH_TEST_KEY"


def test_a_key_is_not_given_to_another_server_of_the_same_name(ring: None) -> None:
    store_key(HOSTED, "secret")
    assert find_key(ModelConfig(name="big", base_url="https://evil.example/v1", model="b")) is None


def test_no_keyring_is_no_error_until_something_is_to_be_kept(no_ring: None) -> None:
    assert find_key(HOSTED) is None
    forget_key(HOSTED)
    with pytest.raises(EnvironmentProblem, match="PERFORCH_TEST_KEY") as caught:
        store_key(HOSTED, "sk-secret")
    assert "sk-secret" not in str(caught.value) and caught.value.__cause__ is None


def test_models_of_the_settings() -> None:
    settings = Settings(models=(HOSTED, ModelConfig(name="l", base_url="http://localhost:1/v1", model="x")))
    assert [model.name for model in catalog.text_models(settings)] == ["big", "l"]
    assert [model.name for model in catalog.text_models(settings, only=["l", "l"])] == ["l"]
    with pytest.raises(UserError, match="'big'"):
        catalog.text_models(settings, only=["bug"])


async def test_discovery_finds_what_answers_and_is_not_held_up_by_what_does_not() -> None:
    listing = {"data": [{"id": "qwen-coder:7b"}, {"id": "nomic-embed-text"}, {"id": "known"}, {"bad": 1}]}

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    silent = await asyncio.start_server(mute, "127.0.0.1", 0)
    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    with serve(get={"/v1/models": listing}) as server, serve(get={"/v1/models": [1]}) as odd, serve() as without:
        ports = [silent.sockets[0].getsockname()[1], other.sockets[0].getsockname()[1], free_port()]
        servers = [("a", server.url), ("odd", odd.url), ("w", without.url)]
        servers += [("s", f"http://127.0.0.1:{port}/v1") for port in ports]
        known = [ModelConfig(name="k", base_url=f"http://localhost:{server.port}/v1", model="known")]
        began = time.monotonic()
        found = await catalog.discover(servers=servers, timeout=0.5, known=known)
        assert time.monotonic() - began < 3
    assert found == [ModelConfig(name="a/qwen-coder:7b", base_url=server.url, model="qwen-coder:7b")]
    silent.close()
    other.close()


async def test_a_round_trip_in_words() -> None:
    with serve(simple("```python\ndef double(x):\n    return 2 * x\n```"), simple("hello")) as server:
        model = catalog.text_model(ModelConfig(name="m", base_url=server.url, model="x", price_out=1000))
        good, bad = await catalog.test(model), await catalog.test(model)
    assert good.ok and good.words.startswith("m works: ") and "11 tokens in, 7 out, $0.0070" in good.words
    assert not bad.ok and "without the function" in bad.words
    dead = catalog.text_model(ModelConfig(name="m", base_url=f"http://127.0.0.1:{free_port()}/v1", model="x"))
    trial = await catalog.test(dead, timeout=10)
    assert not trial.ok and "Is the server running" in trial.words


def test_listing_models_imports_neither_httpx_nor_keyring() -> None:
    code = (
        "import sys; from perforch_core.models import catalog; from perforch_core.settings import *;"
        "catalog.text_models(Settings(models=(ModelConfig(name='a', base_url='http://h/v1', model='m'),)));"
        "sys.exit('httpx' in sys.modules or 'keyring' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
