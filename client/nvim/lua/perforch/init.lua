local M = {}

local function client_here()
  local client = vim.lsp.get_clients({ name = "perforch", bufnr = 0 })[1]
  if not client then
    vim.notify(
      "PerfOrch is not running in this buffer. Install it with `pip install perforch`, "
        .. "see that perforch-lsp is on your PATH, and reopen the file (:checkhealth vim.lsp tells more).",
      vim.log.levels.WARN
    )
  end
  return client
end

local function report(err)
  if err then
    vim.notify("PerfOrch: " .. err.message, vim.log.levels.ERROR)
  end
end

--- Start a job on the function at the cursor. The server tells how it goes and ends.
--- @param command string one of perforch.optimize, perforch.fix, perforch.generate
--- @param apply boolean apply what is proven without asking
function M.start(command, apply)
  local client = client_here()
  if not client then
    return
  end
  local place = vim.lsp.util.make_position_params(0, client.offset_encoding)
  local argument = { uri = place.textDocument.uri, position = place.position, apply = apply or nil }
  client:request("workspace/executeCommand", { command = command, arguments = { argument } }, report)
end

--- Cancel every job that waits or runs.
function M.cancel()
  local client = client_here()
  if not client then
    return
  end
  client:request("perforch/jobs", vim.empty_dict(), function(err, result)
    report(err)
    for _, job in ipairs(result and result.jobs or {}) do
      if job.state == "queued" or job.state == "running" then
        client:request("workspace/executeCommand", { command = "perforch.cancel", arguments = { job.id } }, report)
      end
    end
  end)
end

--- Show a job's progress in the message line, and the lens of what it found.
--- @param data table of an LspProgress event
function M.on_progress(data)
  local client = vim.lsp.get_client_by_id(data.client_id)
  if not client or client.name ~= "perforch" then
    return
  end
  local value = data.params.value
  local title = value.title or "PerfOrch"
  local text = title .. ": " .. (value.message or value.kind)
  text = vim.fn.strcharpart((text:gsub("%s+", " ")), 0, math.max(20, vim.o.columns - 12))
  vim.api.nvim_echo({ { text } }, false, {})
  if value.kind == "end" then
    for buffer in pairs(client.attached_buffers) do
      vim.lsp.codelens.refresh({ bufnr = buffer })
    end
  end
end

return M
