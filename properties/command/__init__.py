"""The command ``patchify-verify``."""
