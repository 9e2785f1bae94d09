-- Commands for PerfOrch's language server (:help perforch). All logic stays in the server.
if vim.g.loaded_perforch then
  return
end
vim.g.loaded_perforch = true

if vim.fn.has("nvim-0.11") == 0 then
  vim.notify("PerfOrch needs Neovim 0.11 or newer", vim.log.levels.WARN)
  return
end

local stages = {
  PerforchOptimize = { "perforch.optimize", "Find a proven faster version of the function at the cursor" },
  PerforchFix = { "perforch.fix", "Mend the function at the cursor until its tests pass" },
  PerforchGenerate = { "perforch.generate", "Write the function at the cursor" },
}
for name, stage in pairs(stages) do
  vim.api.nvim_create_user_command(name, function(options)
    require("perforch").start(stage[1], options.bang)
  end, { bang = true, desc = stage[2] .. " (with !: apply what is proven without asking)" })
end
vim.api.nvim_create_user_command("PerforchCancel", function()
  require("perforch").cancel()
end, { desc = "Cancel all of PerfOrch's jobs" })

local group = vim.api.nvim_create_augroup("perforch", {})
vim.api.nvim_create_autocmd("LspProgress", {
  group = group,
  callback = function(event)
    require("perforch").on_progress(event.data)
  end,
})

if vim.g.perforch_enable ~= false then
  vim.lsp.enable("perforch")
end
