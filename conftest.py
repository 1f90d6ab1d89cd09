"""Hypothesis profiles and the plugin, nothing else."""

from hypothesis import settings

pytest_plugins = ["patchify_harness.plugin"]

# Trials take as long as the layer under test takes, and what a test found is in its message, not in a database. The
# tests see the same examples every time; fresh ones are what a run of the harness is for.
settings.register_profile("harness", deadline=None, database=None, derandomize=True)
settings.load_profile("harness")
