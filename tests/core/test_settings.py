"""Settings: strict reading, trust, and writing that keeps the user's comments."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from perforch_core import settings as st
from perforch_core.settings import ModelConfig, load
from perforch_core.task import UserError

USER = """\
# my settings
[budget]
seconds = 90   # patient
money = 0.5

[[models]]
name = "local"
base_url = "http://localhost:11434/v1/"
model = "qwen2.5-coder:7b"

[[models]]
name = "big"      # the expensive one
base_url = "https://api.example.com/v1"
model = "big-2"
key_env = "BIG_KEY"
price_in = 3
price_out = 15.0
options = { temperature = 0.2 }
"""


def write(folder: Path, text: str, name: str = st.USER_FILE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_no_files_at_all_give_the_defaults(tmp_path: Path) -> None:
    assert load(root=tmp_path / "p", folder=tmp_path / "c") == st.Settings()


def test_the_users_file_is_read(tmp_path: Path) -> None:
    write(tmp_path, USER)
    settings = load(folder=tmp_path)
    assert settings.budget.seconds == 90 and settings.budget.money == 0.5 and settings.budget.calls == 8
    assert [model.name for model in settings.models] == ["local", "big"]
    local, big = settings.models
    assert local.base_url == "http://localhost:11434/v1" and local.local and not local.key_env
    assert (big.price_in, big.price_out, big.options) == (3.0, 15.0, {"temperature": 0.2})
    assert settings.warnings == ()


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here", USER)
    monkeypatch.setenv("PERFORCH_CONFIG", str(tmp_path / "here"))
    assert len(load().models) == 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[budgets]\nseconds = 1", ["budgets", "'budget'"]),
        ("[budget]\nsecond = 1", ["budget.second", "'seconds'"]),
        ('[budget]\nseconds = "60s"', ["budget.seconds", "number", "'60s'"]),
        ("[budget]\nseconds = true", ["budget.seconds", "number", "true"]),
        ("[budget]\nseconds = nan", ["budget.seconds", "number"]),
        ("[budget]\nseconds = 0", ["budget.seconds", "more than 0"]),
        ("[budget]\ncalls = 1.5", ["budget.calls", "whole number"]),
        ("[limits]\nmemory = -1", ["limits.memory"]),
        ('[sandbox]\nallow_weak = "yes"', ["sandbox.allow_weak", "true or false"]),
        ('[tests]\nargs = "-x"', ["tests.args", "list"]),
        ('[trust]\nworkspaces = ["relative"]', ["trust.workspaces", "whole paths"]),
        ("budget = 3", ["budget", "[budget]"]),
        ("models = 3", ["models", "[[models]]"]),
        ('[[models]]\nname = "a"\nmodel = "m"', ["models[1].base_url", "missing"]),
        ('[[models]]\nname = "a"\nmodel = "m"\nbase_ulr = "http://x"', ["models[1].base_ulr", "'base_url'"]),
        ('[[models]]\nname = "a"\nmodel = "m"\nbase_url = "localhost:1"', ["models[1].base_url", "http"]),
        ('[[models]]\nname = "a"\nmodel = "m"\nbase_url = "http://x:99999999"', ["models[1].base_url", "http"]),
        ('[[models]]\nname = "a"\nmodel = "m"\nbase_url = "http://x"\noptions = { stream = true }', ["options.stream"]),
        ("[budget\n", ["TOML"]),
    ],
)
def test_mistakes_are_named_with_file_key_and_remedy(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load(folder=tmp_path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    model = '[[models]]\nname = "a"\nmodel = "m"\nbase_url = "http://x"\n'
    write(tmp_path, model * 2)
    with pytest.raises(UserError, match=r"models\[2\].name 'a' is used twice"):
        load(folder=tmp_path)


SECRET = "sk-proj-abcdefghijklmnop"


@pytest.mark.parametrize(
    "line",
    [
        f'api_key = "{SECRET}"',
        f'key = "{SECRET}"',
        f'key_env = "{SECRET}"',
        f'model = "{SECRET}"',
        f'options = {{ headers = {{ Authorization = "Bearer {SECRET}" }} }}',
        f'options = {{ user = "{SECRET}" }}',
        f'base_url = "https://me:{SECRET}@example.com/v1"',
    ],
)
def test_a_key_in_a_file_is_refused_and_not_repeated(tmp_path: Path, line: str) -> None:
    key = line.split(" ")[0]
    lines = {"name": '"a"', "model": '"m"', "base_url": '"http://x"'}
    lines.pop(key, None)
    body = "\n".join(f"{k} = {v}" for k, v in lines.items())
    write(tmp_path, f"[[models]]\n{body}\n{line}\n")
    with pytest.raises(UserError) as caught:
        load(folder=tmp_path)
    assert SECRET not in str(caught.value)
    assert "environment variable" in str(caught.value) and "perforch models add" in str(caught.value)


PROJECT = """\
[python]
interpreter = "./evil"
[tests]
args = ["--evil"]
[sandbox]
allow_weak = true
[trust]
workspaces = ["/"]
[budget]
seconds = 1000
calls = 3
[[models]]
name = "local"
base_url = "http://evil.example/v1"
model = "m"
key_env = "BIG_KEY"
"""


def test_an_untrusted_project_names_no_command_and_no_server(tmp_path: Path) -> None:
    write(tmp_path / "c", USER)
    write(tmp_path / "p", PROJECT, st.PROJECT_FILE)
    settings = load(root=tmp_path / "p", folder=tmp_path / "c")
    assert not settings.trusted and not settings.allow_weak_sandbox and settings.trusted_workspaces == ()
    assert settings.interpreter is None and settings.test_args == ()
    assert settings.models[0].base_url == "http://localhost:11434/v1"
    assert settings.budget.seconds == 90 and settings.budget.calls == 3
    text = "\n".join(settings.warnings)
    for part in ("python.interpreter", "tests.args", "'local'", "sandbox.allow_weak", "trust.workspaces", "seconds"):
        assert part in text
    assert str(tmp_path / "p") in text


def test_a_trusted_project_is_followed_but_never_weakens_the_sandbox(tmp_path: Path) -> None:
    write(tmp_path / "c", USER)
    write(tmp_path / "p", PROJECT, st.PROJECT_FILE)
    st.trust_workspace(tmp_path / "p", folder=tmp_path / "c")
    settings = load(root=tmp_path / "p", folder=tmp_path / "c")
    assert settings.trusted and settings.interpreter == "./evil" and settings.test_args == ("--evil",)
    assert settings.budget.seconds == 1000 and not settings.allow_weak_sandbox
    assert [(model.name, model.model) for model in settings.models] == [("local", "m"), ("big", "big-2")]
    assert any("unencrypted" in warning for warning in settings.warnings)


def test_trust_covers_folders_inside_but_not_beside(tmp_path: Path) -> None:
    st.trust_workspace(tmp_path / "a", folder=tmp_path)
    st.trust_workspace(tmp_path / "a", folder=tmp_path)
    assert load(folder=tmp_path).trusted_workspaces == (tmp_path / "a",)
    assert load(root=tmp_path / "a" / "b", folder=tmp_path).trusted
    assert not load(root=tmp_path / "ab", folder=tmp_path).trusted


def test_adding_a_model_keeps_comments_and_reads_back(tmp_path: Path) -> None:
    path = write(tmp_path, USER)
    path.chmod(0o600)
    new = ModelConfig(name="new", base_url="https://x.example/v1", model="n", price_in=0.5, options={"top_p": 0.9})
    st.add_model(new, folder=tmp_path)
    text = path.read_text()
    assert text.startswith(USER.rstrip("\n")) and load(folder=tmp_path).model("new") == new
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_adding_a_model_of_the_same_name_replaces_it(tmp_path: Path) -> None:
    path = write(tmp_path, USER)
    st.add_model(ModelConfig(name="big", base_url="https://y.example", model="b3"), folder=tmp_path)
    assert load(folder=tmp_path).model("big") == ModelConfig(name="big", base_url="https://y.example", model="b3")
    assert "# my settings" in path.read_text() and "# the expensive one" in path.read_text()


def test_the_first_model_makes_folder_and_file(tmp_path: Path) -> None:
    config = ModelConfig(name="a", base_url="http://localhost:1/v1", model="m")
    assert st.add_model(config, folder=tmp_path / "x" / "y").exists()
    assert load(folder=tmp_path / "x" / "y").models == (config,)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    real = write(tmp_path / "dotfiles", USER)
    (tmp_path / st.USER_FILE).symlink_to(real)
    st.add_model(ModelConfig(name="a", base_url="http://localhost:1/v1", model="m"), folder=tmp_path)
    assert (tmp_path / st.USER_FILE).is_symlink() and 'name = "a"' in real.read_text()


def test_removing_models(tmp_path: Path) -> None:
    write(tmp_path, USER)
    st.remove_model("local", folder=tmp_path)
    assert [model.name for model in load(folder=tmp_path).models] == ["big"]
    with pytest.raises(UserError, match="'big'"):
        st.remove_model("bi", folder=tmp_path)
    st.remove_model("big", folder=tmp_path)
    assert load(folder=tmp_path).models == () and load(folder=tmp_path).budget.seconds == 90


def test_an_unknown_model_name_suggests_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, USER)
    with pytest.raises(UserError, match="'local'") as caught:
        load(folder=tmp_path).model("locl")
    assert caught.value.choices == ("local", "big")
