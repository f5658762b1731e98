# make demo: complete two photos from their references, then one with RealFill and the embedded
# base model, and score them. make test: lint and tests.
# make test-slow: the longer ones; they want Chromium (apt-get install chromium chromium-driver).

PYTHON ?= python3
SCENE ?= yard

ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif
LAUNCH := $(BIN)/accelerate launch --num_processes=1 --num_machines=1 --mixed_precision=no \
	--dynamo_backend=no
SAMPLE = $(LAUNCH) infer.py --model_path demo/$(SCENE)/model --scene data/$(SCENE) --seed 0 \
	--num_inference_steps 8
.DEFAULT_GOAL := demo
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt

.PHONY: help app demo test test-slow lint clean

help:
	@echo "make demo       complete two photos, then train, sample, rank and score"
	@echo "make app        a page in the browser for photos of your own"
	@echo "make test       lint, and tests with the slowest twenty named"
	@echo "make test-slow  the longer tests"
	@echo "make lint       ruff and pyright"
	@echo "make clean      remove .venv and demo"

demo: .venv/installed
	$(BIN)/python complete_scenes.py data/leuven data/yard --output_dir demo --infer_flags="--seed 0"
	@echo "Two photos are complete: look at demo/status.html. Now RealFill."
	$(LAUNCH) train_realfill.py @data/demo.args --train_data_dir data/$(SCENE) \
		--output_dir demo/$(SCENE)/model --resume_from_checkpoint latest
	$(SAMPLE) --output_dir demo/$(SCENE)/base-only --geometry off --base_only
	$(SAMPLE) --output_dir demo/$(SCENE)/fine-tuned --geometry off --rank sift
	$(SAMPLE) --output_dir demo/$(SCENE)/geometry --rank sift
	$(BIN)/python benchmarks.py --results_base_dir demo --scenes data --metrics psnr ssim \
		--compare base-only fine-tuned --loftr_script_path none \
		--cache_dir demo/report/cache --output_file demo/report/report.txt

app: .venv/installed-for-app
	$(BIN)/python app.py

# Two processes of one thread each: most of the time goes into starting programs, which threads do not
# shorten. A file's tests stay together, for they share what is made for them.
test: export OMP_NUM_THREADS = 1
test: lint
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile --durations=20

test-slow: .venv/installed-for-tests
	$(BIN)/python -m pytest -m slow -s

lint: .venv/installed-for-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

clean:
	rm -rf .venv demo

.venv/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/installed: requirements.txt constraints.txt .venv/created
	@echo "Installing into .venv (several GB on Linux; a few minutes, once)"
	$(INSTALL) --requirement requirements.txt
	touch $@

.venv/installed-for-tests: requirements-tests.txt requirements-benchmarks.txt .venv/installed
	$(INSTALL) --requirement requirements-tests.txt
	touch $@

.venv/installed-for-app: requirements-app.txt requirements-heic.txt .venv/installed
	$(INSTALL) --requirement requirements-app.txt --requirement requirements-heic.txt
	touch $@
