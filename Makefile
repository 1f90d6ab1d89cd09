PYTHON ?= python3
BIN = .venv/bin

.PHONY: verify test suite lint

# Verify the shipped layer, at both levels. SEED=7 repeats a run.
verify: .venv/installed
	@$(BIN)/patchify-verify run --level robust --regressions regressions $(if $(SEED),--seed $(SEED))

# The linters beside the project's own tests: mypy takes a minute, and one core.
test: .venv/installed
	@$(MAKE) --no-print-directory --jobs 2 lint suite

# On all cores; tests of one file share what they have computed.
suite: .venv/installed
	$(BIN)/pytest -n auto --dist loadscope

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
