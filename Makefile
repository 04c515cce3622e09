# Everything one does here, by one verb each. Needs Python 3.11 or newer and make; `make help` lists.

PORT ?= 8000
BUNDLES ?= bundles/travel
NAME ?= mine
MINUTES ?= 10
COUNT ?= 100000

# Whoever has the development environment has all that training needs: no second TensorFlow then.
TRAIN_VENV := $(if $(wildcard .venv-dev/.complete),.venv-dev,.venv-train)

ifeq ($(filter train,$(MAKECMDGOALS))$(CORPUS),train)
$(error Say what to train on: make train CORPUS=path/to/texts)
endif

.DEFAULT_GOAL := help
.PHONY: help serve train test test-clients lint bench examples fuzz clean distclean

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

serve: .venv-serve/.complete ## serve a bundle: PORT=8000 BUNDLES=bundles/travel
	@.venv-serve/bin/python -m model.kernel.build --optional
	@exec .venv-serve/bin/python -m service --port "$(PORT)" --bundles "$(BUNDLES)"

train: $(TRAIN_VENV)/.complete ## train on your text and publish: CORPUS=path NAME=mine MINUTES=10
	@$(TRAIN_VENV)/bin/python -m training run \
	  --corpus "$(CORPUS)" --name "$(NAME)" --minutes "$(MINUTES)"
	@echo "Serve it: make serve BUNDLES=bundles/$(NAME)"

# Many tests wait for a service more than they compute. ARGS="-n 0" runs one at a time, for a debugger.
test: .venv-dev/.complete ## run all tests, two files at a time; ARGS= goes to pytest
	@.venv-dev/bin/python -m model.kernel.build --optional
	@.venv-dev/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-clients: .venv-dev/.complete .venv-clients/.complete ## lm-eval and litellm against the service; over a gigabyte
	@.venv-dev/bin/python -m pytest tests/contracts/test_evaluation_clients.py $(ARGS)

lint: .venv-dev/.complete ## ruff and mypy, strictly
	@.venv-dev/bin/ruff check .
	@.venv-dev/bin/ruff format --check .
	@.venv-dev/bin/mypy

bench: .venv-dev/.complete ## measure speed, in under five minutes; ARGS= goes to the benchmarks
	@.venv-dev/bin/python -m model.kernel.build --optional
	@.venv-dev/bin/python -m benchmarks $(ARGS)

examples: .venv-dev/.complete ## send the requests of the documentation, write the answers into it
	@.venv-dev/bin/python -m model.kernel.build
	@PYTHONPATH=tests:. .venv-dev/bin/python tests/contracts/write_docs.py

fuzz: .venv-dev/.complete ## send hostile requests, with the memory of each process: COUNT=100000
	@HOSTILE_BODIES="$(COUNT)" .venv-dev/bin/python -m pytest -s tests/contracts/test_hostile_bodies.py

clean: ## remove caches and build products; bundles and runs stay
	rm -f model/kernel/*.so
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find benchmarks model service tests training -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## also remove the virtual environments
	rm -rf .venv-serve .venv-train .venv-dev .venv-clients

.venv-%/.complete: requirements/%.txt requirements/make-venv
	@requirements/make-venv .venv-$* $<
	@touch $@

.venv-train/.complete: requirements/serve.txt
.venv-dev/.complete: requirements/serve.txt requirements/train.txt
