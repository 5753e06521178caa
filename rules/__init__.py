"""The rules: one per file, with its page, its selector or check, and its cases."""
