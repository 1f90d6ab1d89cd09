PYTHON ?= python3
BIN = .venv/bin

.PHONY: verify test lint

# Verify the shipped layer, at both levels. SEED=7 repeats a run.
verify: .venv/installed
	@$(BIN)/patchify-verify run --level robust --regressions regressions $(if $(SEED),--seed $(SEED))

# The project's own tests, on all cores, after the linters. Tests of one file share what they have computed.
test: lint
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
