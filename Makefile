# make demo: environment, install, the main job on the bundled data.   make test: the same environment, all tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo

.PHONY: install browser demo test lint types clean

install: $(VENV)/.installed

# An editable install of the package with its development tools, at the tested versions.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A conditional VAE learns the seasons of the sea off Peru; what it cannot explain are the strong El Niño episodes.
demo: install
	$(BIN)/seqae train --model CVAE --decoder_type repeat_latent -o $(RUN) --overwrite
	$(BIN)/seqae score $(RUN)/model.safetensors -o $(RUN)/scores.csv --events $(RUN)/events.csv
	@cat $(RUN)/events.csv
	$(BIN)/seqae plot $(RUN)/model.safetensors -o $(RUN)/elnino.png

test: install browser
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The report is opened in Chromium; where there is none and it cannot be installed, those tests skip.
browser:
	@{ [ -n "$$CHROMIUM" ] || command -v chromium || command -v chromium-browser || command -v google-chrome \
	  || [ "$$(id -u)" != 0 ] || ! command -v apt-get \
	  || { export DEBIAN_FRONTEND=noninteractive; timeout 120 apt-get update -qq; \
	       timeout 300 apt-get install -y -qq --no-install-recommends chromium; }; } >/dev/null 2>&1 || true

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy looks at the package as it is installed: in the source tree seqae.cli and seqae.datasets lie elsewhere.
types: install
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt --target build/typed .
	cd build/typed && MYPYPATH=. $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/setup.cfg -p seqae

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis runs
