"""Settings of all tests: no time limits, and the same examples in every run of a continuous integration."""

import os

from hypothesis import settings

settings.register_profile("default-here", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("default-here")
