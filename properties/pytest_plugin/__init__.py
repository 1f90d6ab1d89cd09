"""The pytest plugin: the contract and records as tests."""
