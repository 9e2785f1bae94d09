"""Writing files: all or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from perforch_core.files import replace_text
from perforch_core.task import UserError


def test_a_file_is_replaced_with_its_mode_and_through_links(tmp_path: Path) -> None:
    real, link = tmp_path / "real.py", tmp_path / "link.py"
    real.write_bytes(b"a\r\n")
    real.chmod(0o754)
    link.symlink_to(real)
    replace_text(link, before="a\r\n", after="b\r\n")
    assert real.read_bytes() == b"b\r\n" and link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o754
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.py", "real.py"]


def test_a_file_that_changed_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("theirs")
    with pytest.raises(UserError, match="changed meanwhile"):
        replace_text(path, before="ours", after="new")
    assert path.read_text() == "theirs"


def test_what_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.py"
    path.write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device; nothing was changed"):
        replace_text(path, before="old", after="new")
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
