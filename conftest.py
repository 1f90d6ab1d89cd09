"""Hypothesis profiles and the plugin, nothing else."""

from hypothesis import settings

pytest_plugins = ["properties.plugin"]

# Trials take as long as the layer under test takes, and what a test found is in its message, not in a database.
settings.register_profile("harness", deadline=None, database=None)
settings.load_profile("harness")
