"""What the editor's settings say, under the section "perforch"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EditorSettings:
    """The settings of one editor.

    python: the project's interpreter, when it is not the one found. models: limit to these. applyDirectly: explicit
    requests apply what is proven without asking. budget: what is set of seconds, calls and money, over the settings
    files. hints: show slow patterns on save.
    verifyOnSave: look for proven faster versions of what was hinted at, in the background.
    """

    python: str | None = None
    models: tuple[str, ...] = ()
    apply_directly: bool = False
    budget: Mapping[str, float] = field(default_factory=dict)
    hints: bool = True
    verify_on_save: bool = False


def parse(data: Any) -> tuple[EditorSettings, list[str]]:
    """Settings from what a client sent, with or without the section's name around it, and what was wrong with it.

    A wrong setting is left at its default.
    """
    problems: list[str] = []
    if isinstance(data, Mapping) and isinstance(data.get("perforch"), Mapping):
        data = data["perforch"]
    if data is None:
        data = {}
    if not isinstance(data, Mapping):
        return EditorSettings(), ["perforch: the settings must be an object"]

    def take(name: str, expected: str, check: type | tuple[type, ...]) -> Any:
        value = data.get(name)
        if value is None:
            return None
        if not isinstance(value, check) or (isinstance(value, bool) and check is not bool):
            problems.append(f"perforch.{name} must be {expected}, not {value!r}; the default is used")
            return None
        return value

    models = take("models", "a list of model names", (list, tuple)) or ()
    if not all(isinstance(name, str) for name in models):
        problems.append("perforch.models must be a list of model names; all models are used")
        models = ()
    hints = take("hints", "true or false", bool)
    return EditorSettings(
        python=take("python", "the path of a Python interpreter", str) or None,
        models=tuple(models),
        apply_directly=bool(take("applyDirectly", "true or false", bool)),
        budget=_budget(take("budget", "an object with seconds, calls and money", Mapping) or {}, problems),
        hints=True if hints is None else hints,
        verify_on_save=bool(take("verifyOnSave", "true or false", bool)),
    ), problems


def _budget(data: Mapping[str, Any], problems: list[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    for name in ("seconds", "calls", "money"):
        value = data.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            problems.append(
                f"perforch.budget.{name} must be a number of at least 0, not {value!r}; the default is used"
            )
        else:
            values[name] = int(value) if name == "calls" else float(value)
    return values
