"""How the command ends."""

PASSED, FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
# Some of what was to be checked was not.
INCOMPLETE = COULD_NOT_RUN
