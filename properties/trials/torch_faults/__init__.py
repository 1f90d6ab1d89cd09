"""Faults of torch, each as a script of torch alone: it exits with 0 where torch is right, 3 where it is wrong."""
