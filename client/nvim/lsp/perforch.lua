-- Read by vim.lsp.config("perforch"); override any of it with vim.lsp.config("perforch", { ... }).
return {
  cmd = { "perforch-lsp", "--stdio" },
  filetypes = { "python" },
  root_markers = { "perforch.toml", "pyproject.toml", "setup.py", "setup.cfg", ".git" },
}
