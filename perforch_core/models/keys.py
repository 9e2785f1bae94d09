"""Keys of models: from an environment variable, else from the system's keyring. Never from a file, never logged.

A key in the keyring is bound to the server it was given for, so that a settings file which points a known name at
another server does not get it.
"""

from __future__ import annotations

import os

from perforch_core.settings import ModelConfig
from perforch_core.task import EnvironmentProblem

SERVICE = "perforch"


def find_key(config: ModelConfig) -> str | None:
    """The model's key, or None. A missing or locked keyring is no error. May block: call it in a thread."""
    if config.key_env:
        key = os.environ.get(config.key_env, "").strip()
        if key:
            return key
    if config.local and not config.key_env:
        return None  # asking a keyring may open a dialogue; local servers need no key
    return _from_keyring(config)


def where(config: ModelConfig) -> str:
    """Where the key comes from, for people: never the key itself."""
    if config.key_env and os.environ.get(config.key_env, "").strip():
        return f"environment variable {config.key_env}"
    if config.local and not config.key_env:
        return "no key needed"
    if _from_keyring(config):
        return "keyring"
    return f"missing: set {config.key_env}" if config.key_env else "none"


def store_key(config: ModelConfig, key: str) -> None:
    """Keep a key in the keyring. Raises EnvironmentProblem where there is none, saying what to do instead."""
    try:
        import keyring

        keyring.set_password(SERVICE, _user(config), key.strip())
    except Exception as error:  # backends raise what they like; the key is in none of the texts below
        variable = config.key_env or "an environment variable, named in key_env,"
        raise EnvironmentProblem(
            f"The system's keyring cannot be used ({type(error).__name__}). Put the key into {variable} instead."
        ) from None


def forget_key(config: ModelConfig) -> None:
    """Take a key out of the keyring, if it is there."""
    try:
        import keyring

        keyring.delete_password(SERVICE, _user(config))
    except Exception:  # nothing to forget, or no keyring
        return


def _from_keyring(config: ModelConfig) -> str | None:
    try:
        import keyring  # slow to import, and on some systems starts a service

        return keyring.get_password(SERVICE, _user(config)) or None
    except Exception:  # no backend, locked, no session bus: as if there were no key
        return None


def _user(config: ModelConfig) -> str:
    return f"{config.name} {config.origin}"
