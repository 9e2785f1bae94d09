-- Read by vim.lsp.config("perforch"); override any of it with vim.lsp.config("perforch", { ... }).
return {
  cmd = { "perforch-lsp", "--stdio" },
  filetypes = { "python" },
  root_markers = { "perforch.toml", "pyproject.toml", "setup.py", "setup.cfg", ".git" },
  handlers = {
    -- Neovim itself lets an edit pass that was made for the text as it was opened, and says "applied" of one that it
    -- drops: what is typed while an edit is on its way must stay, and the server must hear of it.
    ["workspace/applyEdit"] = function(err, params, context)
      for _, change in ipairs(params.edit.documentChanges or {}) do
        local document = change.textDocument
        local buffer = vim.uri_to_bufnr(document.uri)
        if type(document.version) == "number" and vim.lsp.util.buf_versions[buffer] ~= document.version then
          return { applied = false, failureReason = "the buffer has changed meanwhile" }
        end
      end
      return vim.lsp.handlers["workspace/applyEdit"](err, params, context)
    end,
  },
}
