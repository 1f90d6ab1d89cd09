"""One case on one layer: the trial, its tensors and their layouts, compilation, and what torch itself gets wrong."""
