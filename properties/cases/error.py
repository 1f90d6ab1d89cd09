"""What is raised where plain data is no case."""


class CaseError(ValueError):
    """A case, or JSON that should be one, does not fit."""
