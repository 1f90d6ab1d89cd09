"""What the right answer is: two oracles, the adjoint derived by hand, and the bound on rounding errors."""
