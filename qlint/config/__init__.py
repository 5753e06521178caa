"""Configuration: `[tool.qlint]` of a pyproject.toml, a qlint.toml, what stands beside a model, and the command line over it."""

from qlint.config.config import Config, find, governing, load

__all__ = ["Config", "find", "governing", "load"]
