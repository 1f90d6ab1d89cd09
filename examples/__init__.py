"""Layers that people use, each adapted in a few lines."""
