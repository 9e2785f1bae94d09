"""Settings: the user's `config.toml` and the project's `perforch.toml`, merged into one frozen value.

The project file is committed with the project, so it is written by strangers: what it says is taken only as far as
it cannot hurt. It may name commands, interpreters and servers only when the user trusts the workspace; until then
it may lower the budget and the limits but not raise them. It can never allow a weak sandbox or trust a workspace.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from perforch_core.files import write_atomically
from perforch_core.task import Budget, UserError

USER_FILE = "config.toml"
PROJECT_FILE = "perforch.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model behind an OpenAI-compatible server.

    `name` is the user's name for it, `model` the server's. `key_env` names the environment variable with the key
    ("" where none is needed or the keyring has it). Prices are US dollars per million tokens. `options` go into
    the body of every request as they are (temperature, top_p, reasoning_effort, ...).
    """

    name: str
    base_url: str
    model: str
    key_env: str = ""
    price_in: float = 0.0
    price_out: float = 0.0
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Scheme, host and port of the server: what a stored key is bound to."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def local(self) -> bool:
        """The server runs on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """What one sandboxed program may use: seconds of wall and CPU time, bytes of memory."""

    wall: float = 30.0
    cpu: float = 30.0
    memory: int = 2 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingWeights:
    """What a request to a model is worth: `value` of a solved task, `cost` per US dollar, `waiting` per second."""

    value: float = 1.0
    cost: float = 1.0
    waiting: float = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the user and the project set. `warnings` say what was ignored and why, for the user."""

    models: tuple[ModelConfig, ...] = ()
    budget: Budget = field(default_factory=Budget)
    limits: RunLimits = field(default_factory=RunLimits)
    allow_weak_sandbox: bool = False
    interpreter: str | None = None
    test_args: tuple[str, ...] = ()
    trusted_workspaces: tuple[Path, ...] = ()
    routing: RoutingWeights = field(default_factory=RoutingWeights)
    trusted: bool = False
    warnings: tuple[str, ...] = ()

    def model(self, name: str) -> ModelConfig:
        """The configured model of that name. Raises UserError that names the nearest one."""
        for config in self.models:
            if config.name == name:
                return config
        names = tuple(config.name for config in self.models)
        hint = _nearest(name, names) or (f"Configured: {', '.join(names)}." if names else "None is configured yet.")
        raise UserError(f"There is no model named {name!r}. {hint} `perforch models list` shows all.", choices=names)


def config_folder() -> Path:
    """The folder of the user's file: PERFORCH_CONFIG, else the platform's config folder."""
    override = os.environ.get("PERFORCH_CONFIG")
    if override:
        return Path(override).expanduser()
    import platformdirs  # not needed by whoever sets PERFORCH_CONFIG, and start-up time counts

    return Path(platformdirs.user_config_dir("perforch", appauthor=False))


def load(*, root: Path | None = None, folder: Path | None = None) -> Settings:
    """The settings for the project at `root` (None: the user's only).

    Raises UserError, which names file, key and what to write instead, for anything that is not understood.
    """
    settings = _merge_user(_read((folder or config_folder()) / USER_FILE))
    if root is None:
        return settings
    trusted = _is_trusted(root, settings.trusted_workspaces)
    return _merge_project(settings, _read(root / PROJECT_FILE), trusted=trusted)


def add_model(config: ModelConfig, *, folder: Path | None = None) -> Path:
    """Write a model into the user's file, in place of one of the same name; comments and order are kept.

    Returns the file's path. Raises UserError if the file or the model is not valid.
    """
    path = (folder or config_folder()) / USER_FILE
    table = _model_table(config)
    _model(table, _Place(path, "models"))  # never write what could not be read back
    document = _editable(path)
    import tomlkit

    models = document.get("models")
    if models is None or not models:
        models = document["models"] = tomlkit.aot()
    for existing in models:
        if existing.get("name") == config.name:
            for key in [key for key in existing if key not in table]:
                existing.remove(key)
            existing.update(table)
            break
    else:
        new = tomlkit.table()
        new.update(table)
        models.append(new)
    _write(path, document.as_string())
    return path


def remove_model(name: str, *, folder: Path | None = None) -> Path:
    """Take a model out of the user's file. Raises UserError if it is not there."""
    path = (folder or config_folder()) / USER_FILE
    document = _editable(path)
    models = document.get("models") or []
    places = [place for place, model in enumerate(models) if model.get("name") == name]
    if not places:
        names = tuple(str(model.get("name")) for model in models)
        raise UserError(f"{path}: there is no model named {name!r}. {_nearest(name, names)}".rstrip(), choices=names)
    for place in reversed(places):
        del models[place]
    if not models:
        document.pop("models", None)
    _write(path, document.as_string())
    return path


def trust_workspace(root: Path, *, folder: Path | None = None) -> Path:
    """Add `root` to the workspaces that may name commands and servers. Returns the user file's path."""
    path = (folder or config_folder()) / USER_FILE
    document = _editable(path)
    import tomlkit

    section = document.get("trust")
    if section is None:
        section = document["trust"] = tomlkit.table()
    workspaces = section.get("workspaces")
    if workspaces is None:
        workspaces = section["workspaces"] = tomlkit.array()
    text = str(root.resolve())
    if text not in workspaces:
        workspaces.append(text)
        _write(path, document.as_string())
    return path


# --- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value stands, for error messages."""

    path: Path
    key: str

    def __truediv__(self, key: str) -> _Place:
        return _Place(self.path, f"{self.key}.{key}" if self.key else key)

    def error(self, problem: str) -> UserError:
        return UserError(f"{self.path}: {self.key} {problem}")


Check = Callable[[Any, _Place], Any]

_SECRET_KEY = re.compile(r"(^|[_-])(api[_-]?key|key|token|secret|password|passwd|authorization|bearer)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"^(Bearer\s+\S+|sk-[\w-]{12,}|gsk_\w{12,}|AIza[\w-]{20,}|hf_\w{16,}|xai-\w{16,})$")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def _nearest(word: str, valid: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else ""


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value!r}"
    if isinstance(value, str):
        return f"the text {value!r}"
    if isinstance(value, dict):
        return "a table"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"


def _text(value: Any, place: _Place) -> str:
    if not isinstance(value, str) or not value.strip():
        raise place.error(f"must be a text in quotes, not {_kind(value)}.")
    return value


def _flag(value: Any, place: _Place) -> bool:
    if not isinstance(value, bool):
        raise place.error(f"must be true or false, not {_kind(value)}.")
    return value


def _number(value: Any, place: _Place) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise place.error(f"must be a number of 0 or more, not {_kind(value)}.")
    return float(value)


def _positive(value: Any, place: _Place) -> float:
    number = _number(value, place)
    if number == 0:
        raise place.error("must be more than 0.")
    return number


def _count(value: Any, place: _Place) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise place.error(f"must be a whole number of 1 or more, not {_kind(value)}.")
    return value


def _texts(value: Any, place: _Place) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise place.error(f'must be a list of texts, such as ["-x", "-q"], not {_kind(value)}.')
    return tuple(value)


def _paths(value: Any, place: _Place) -> tuple[Path, ...]:
    paths = tuple(Path(text).expanduser() for text in _texts(value, place))
    for path in paths:
        if not path.is_absolute():
            raise place.error(f"must list whole paths; {str(path)!r} is not one.")
    return paths


def _url(value: Any, place: _Place) -> str:
    text = _text(value, place)
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid:
        raise place.error(f'must be an http or https address such as "http://localhost:11434/v1", not {text!r}.')
    if parts.username or parts.password:
        raise place.error(f"must not hold a user name or password. {_KEYS_BELONG}")
    if parts.query or parts.fragment:
        raise place.error("must be the plain address of the server, with nothing after a '?' or '#'.")
    return text.rstrip("/")


def _variable(value: Any, place: _Place) -> str:
    text = _text(value, place)
    if not _VARIABLE.match(text):  # the text itself may be a key pasted here: it is not repeated
        raise place.error(f'must be the name of an environment variable, such as "OPENAI_API_KEY". {_KEYS_BELONG}')
    return text


def _options(value: Any, place: _Place) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"must be a table such as {{ temperature = 0.2 }}, not {_kind(value)}.")
    for ours in ("messages", "model", "stream", "stream_options"):
        if ours in value:
            raise (place / ours).error("is set by PerfOrch itself; leave it out.")
    return value


_KEYS_BELONG = (
    "Keys do not belong in a settings file: put the key in an environment variable and name it in key_env, "
    "or run `perforch models add`, which keeps it in the system's keyring."
)

_MODEL_KEYS: dict[str, Check] = {
    "name": _text,
    "base_url": _url,
    "model": _text,
    "key_env": _variable,
    "price_in": _number,
    "price_out": _number,
    "max_tokens": _count,
    "options": _options,
}

_SECTIONS: dict[str, dict[str, Check]] = {
    "budget": {"seconds": _positive, "calls": _count, "money": _number},
    "limits": {"wall": _positive, "cpu": _positive, "memory": _count},
    "sandbox": {"allow_weak": _flag},
    "python": {"interpreter": _text},
    "tests": {"args": _texts},
    "trust": {"workspaces": _paths},
    "routing": {"value": _number, "cost": _number, "waiting": _number},
}


@dataclass(frozen=True, slots=True)
class _File:
    """One checked file: `values` by (section, key), and its models."""

    path: Path
    values: dict[tuple[str, str], Any] = field(default_factory=dict)
    models: tuple[ModelConfig, ...] = ()

    def section(self, name: str) -> dict[str, Any]:
        return {key: value for (section, key), value in self.values.items() if section == name}


def _read(path: Path) -> _File:
    try:
        raw = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _File(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        data = tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid UTF-8; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from None
    return _checked(data, path)


def _checked(data: dict[str, Any], path: Path) -> _File:
    _refuse_secrets(data, _Place(path, ""))
    _known(data, (*_SECTIONS, "models"), _Place(path, ""))
    values: dict[tuple[str, str], Any] = {}
    for section, checks in _SECTIONS.items():
        if section not in data:
            continue
        place = _Place(path, section)
        table = data[section]
        if not isinstance(table, dict):
            raise place.error(f"must be a table, written [{section}], not {_kind(table)}.")
        _known(table, tuple(checks), place)
        for key, value in table.items():
            values[section, key] = checks[key](value, place / key)
    return _File(path, values, _models(data.get("models", []), _Place(path, "models")))


def _known(table: Mapping[str, Any], valid: tuple[str, ...], place: _Place) -> None:
    for key in table:
        if key not in valid:
            hint = _nearest(key, valid) or f"Known here: {', '.join(sorted(valid))}."
            raise (place / key).error(f"is not a setting. {hint}")


def _models(value: Any, place: _Place) -> tuple[ModelConfig, ...]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise place.error("must be a list of tables, each written [[models]].")
    models = tuple(_model(table, _Place(place.path, f"models[{number}]")) for number, table in enumerate(value, 1))
    seen: set[str] = set()
    for number, model in enumerate(models, 1):
        if model.name in seen:
            raise _Place(place.path, f"models[{number}].name").error(f"{model.name!r} is used twice; rename one.")
        seen.add(model.name)
    return models


def _model(table: Mapping[str, Any], place: _Place) -> ModelConfig:
    _known(table, tuple(_MODEL_KEYS), place)
    for needed in ("name", "base_url", "model"):
        if needed not in table:
            raise (place / needed).error("is missing; every model needs name, base_url and model.")
    return ModelConfig(**{key: _MODEL_KEYS[key](value, place / key) for key, value in table.items()})


def _refuse_secrets(value: Any, place: _Place) -> None:
    """Raise for anything that looks like a key, without repeating it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if _SECRET_KEY.search(key) and isinstance(inner, str):
                raise (place / key).error(f"looks like a secret. {_KEYS_BELONG}")
            _refuse_secrets(inner, place / key)
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(inner, place)
    elif isinstance(value, str) and _SECRET_VALUE.match(value.strip()):
        raise place.error(f"looks like a secret. {_KEYS_BELONG}")


# --- merging -------------------------------------------------------------------------------------------------------


def _is_trusted(root: Path, trusted: tuple[Path, ...]) -> bool:
    real = root.resolve()
    return any(real.is_relative_to(folder.resolve()) for folder in trusted)


def _merge_user(file: _File) -> Settings:
    settings = Settings(
        models=file.models,
        budget=replace(Budget(), **file.section("budget")),
        limits=replace(RunLimits(), **file.section("limits")),
        allow_weak_sandbox=file.values.get(("sandbox", "allow_weak"), False),
        interpreter=file.values.get(("python", "interpreter")),
        test_args=file.values.get(("tests", "args"), ()),
        trusted_workspaces=file.values.get(("trust", "workspaces"), ()),
        routing=replace(RoutingWeights(), **file.section("routing")),
    )
    return replace(settings, warnings=tuple(_plain_http(file)))


def _plain_http(file: _File) -> list[str]:
    return [
        f"{file.path}: the key of {model.name!r} travels unencrypted to {model.origin}; use https."
        for model in file.models
        if model.key_env and model.base_url.startswith("http://") and not model.local
    ]


def _merge_project(settings: Settings, file: _File, *, trusted: bool) -> Settings:
    warnings = list(settings.warnings)
    for section, key in (("sandbox", "allow_weak"), ("trust", "workspaces")):
        if (section, key) in file.values:
            warnings.append(f"{file.path}: {section}.{key} is ignored; only your own {USER_FILE} may set it.")
    settings = replace(
        settings,
        trusted=trusted,
        budget=_tightened(settings.budget, file, "budget", warnings, trusted),
        limits=_tightened(settings.limits, file, "limits", warnings, trusted),
        routing=replace(settings.routing, **file.section("routing")),
    )
    wanted = [f"{section}.{key}" for section, key in file.values if section in ("python", "tests")]
    wanted += [f"model {model.name!r}" for model in file.models]
    if wanted and not trusted:
        warnings.append(
            f"{file.path}: {', '.join(wanted)} ignored, because this workspace is not trusted. "
            f"If you trust it, add {str(file.path.parent)!r} to trust.workspaces in your own {USER_FILE}."
        )
    if trusted:
        names = {model.name for model in file.models}
        warnings += _plain_http(file)
        settings = replace(
            settings,
            interpreter=file.values.get(("python", "interpreter"), settings.interpreter),
            test_args=file.values.get(("tests", "args"), settings.test_args),
            models=file.models + tuple(model for model in settings.models if model.name not in names),
        )
    return replace(settings, warnings=tuple(warnings))


def _tightened(base: Any, file: _File, section: str, warnings: list[str], trusted: bool) -> Any:
    """`base` with the project's values; an untrusted project may only lower them."""
    values = file.section(section)
    for key, value in list(values.items()):
        own = getattr(base, key)
        if not trusted and own is not None and value > own:
            what = f"{section}.{key} = {value:g}"
            warnings.append(f"{file.path}: {what} ignored; a workspace that is not trusted may only lower it.")
            del values[key]
    return replace(base, **values)


# --- writing -------------------------------------------------------------------------------------------------------


def _model_table(config: ModelConfig) -> dict[str, Any]:
    """The keys of a model that differ from the defaults."""
    table: dict[str, Any] = {}
    for item in fields(ModelConfig):
        value = getattr(config, item.name)
        if item.name in ("name", "base_url", "model") or value not in ("", 0.0, None, {}):
            table[item.name] = dict(value) if item.name == "options" else value
    _refuse_secrets(table, _Place(Path(USER_FILE), "models"))
    return table


def _editable(path: Path) -> Any:
    """The file as a tomlkit document, after checking that it is valid."""
    import tomlkit  # slow to import, and needed only for writing

    _read(path)
    return tomlkit.parse(path.read_bytes().decode("utf-8-sig")) if path.exists() else tomlkit.document()


def _write(path: Path, text: str) -> None:
    """Replace the file's content in one step; a link to it (dotfile managers) stays a link."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode(), mode=path.stat().st_mode if path.exists() else None)
