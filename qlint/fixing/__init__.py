"""Fixes: what cures a finding is planned in memory, written to a new file, and believed once that was read and judged again."""
