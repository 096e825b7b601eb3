# Two commands need nothing but Python 3.10 or newer:
#   make quickstart                  search, export, retrain and evaluate on made-up data, then print where the report is
#   make quickstart DATA=DIR         the same on a folder of COCO keypoints (annotations/, images/)
#   make quickstart MINUTES=60       the same with more time
#   make quickstart VIDEO=1          then video networks too: a quarter of an hour (DATA=DIR: images and videos, as synthesized)
#   make quickstart RESUME=1         go on with the last one, which was interrupted (VIDEO=1 RESUME=1: the one on videos)
#   make test                        the tests
# Also: make lint, make type, make docs (site/), make clean.

PYTHON ?= python3
VENV := .venv
DATA :=
MINUTES :=
VIDEO :=
RESUME :=
ROOMS := search_spaces supernet evaluators nas $(wildcard scripts/*.py)
INPUTS := pyproject.toml constraints.txt scripts/setup_environment.sh
# Long tests are run by name (make test TESTS='-m slow'), the rest on every change.
TESTS := -m "not slow"

.PHONY: quickstart test lint type docs environment clean

quickstart: $(VENV)/.ready
	@trap : INT; \
	$(VENV)/bin/vipnas quickstart $(if $(VIDEO),--video) $(if $(DATA),--data "$(DATA)") $(if $(MINUTES),--minutes "$(MINUTES)") \
	  $(if $(RESUME),--resume) || { \
	  code=$$?; \
	  if [ $$code -eq 130 ]; then echo "make: go on with: make quickstart$(if $(VIDEO), VIDEO=1) RESUME=1" >&2; fi; \
	  exit $$code; }

test: $(VENV)/.ready-dev
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 $(TESTS)

lint: $(VENV)/.ready-dev
	@$(VENV)/bin/ruff check .

type: $(VENV)/.ready-dev
	@$(VENV)/bin/mypy $(ROOMS)

docs: $(VENV)/.ready-docs
	@$(VENV)/bin/mkdocs build --strict

environment: $(VENV)/.ready

$(VENV)/.ready: $(INPUTS)
	@PYTHON="$(PYTHON)" bash scripts/setup_environment.sh $(VENV)
	@touch $@

$(VENV)/.ready-dev: $(INPUTS)
	@PYTHON="$(PYTHON)" bash scripts/setup_environment.sh $(VENV) dev
	@touch $@ $(VENV)/.ready

$(VENV)/.ready-docs: $(INPUTS)
	@PYTHON="$(PYTHON)" bash scripts/setup_environment.sh $(VENV) docs
	@touch $@ $(VENV)/.ready

clean:
	rm -rf $(VENV) build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
