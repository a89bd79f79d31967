"""Pages about what was run: Python collects plain data, the templates hold all markup."""
