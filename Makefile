# make demo    set up .venv, run the MTDM, in its tiny size, on made-up stays; print its metrics and its run folder
# make test    the fast tests        make check   format, lint, types, all tests (what CI runs)
# make lock    write requirements.lock anew from pyproject.toml

PYTHON ?= python3
BIN := .venv/bin
# Two processes of one thread, for two cores; a file's tests share what they make, and tests/conftest.py says which files are first.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
export PYTHONUNBUFFERED := 1

.PHONY: demo test check format lock clean

demo: .venv/ready
	$(BIN)/python -m icu_lightning.run model=mtdm model/size=tiny

test: .venv/ready
	$(TESTS) -m "not slow"

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TESTS)

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "icu_lightning needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv (some minutes, once) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch .venv/ready

# Names and versions only: no addresses, no build tags, not this package itself.
lock:
	rm -rf .venv && $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	$(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+[a-z0-9.]+$$//' | grep -E '^[A-Za-z0-9_.-]+==[A-Za-z0-9_.!-]+$$' > requirements.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache dist build
