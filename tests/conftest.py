"""For all tests."""

import os

os.environ["QLINT_CACHE_DIR"] = os.devnull  # where nothing can be kept: commands are run for what they do
