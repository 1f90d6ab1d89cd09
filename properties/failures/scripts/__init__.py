"""A failed case as a standalone Python file, for a bug report: made of the law's own source, and of torch alone."""

from properties.failures.scripts.standalone import standalone_script

__all__ = ["standalone_script"]
