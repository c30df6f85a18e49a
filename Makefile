# SPDX-License-Identifier: Apache-2.0
# Every target sets up first; what is set up already takes a second (tools/ros_from_pip/setup.py).

PYTHON ?= python3
BIN := .venv/bin
VIDEO ?=
IMAGES ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz soak lint bench train picture readme lock clean

help:  ## show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup:  ## make .venv: ROS 2, torch, vision_msgs and this package (PYTHON=python3.12 chooses)
	@$(PYTHON) tools/ros_from_pip/setup.py

demo: setup  ## segment a synthetic street, or VIDEO=file, or IMAGES=folder, into demo_output/
	@$(BIN)/python -m seg_ros.ros.demo \
	  $(if $(VIDEO),--video '$(VIDEO)') $(if $(IMAGES),--images '$(IMAGES)') $(ARGS)

test: setup  ## run the tests (ARGS='-k word' chooses)
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

fuzz: setup  ## run the fault matrix with full counts, or go on with it (ARGS='V1 K2' chooses)
	@$(BIN)/python -m faults $(ARGS)

soak: setup  ## run an hour at 30 Hz with bad frames in it, alone on the machine
	@$(BIN)/python -m faults S1 $(ARGS)

lint: setup  ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/mypy

bench: setup  ## measure the node against a bare relay, into reports/bench.json
	@$(BIN)/python -m benchmarks.bench $(ARGS)

train: setup  ## train the embedded network, or go on where it stopped
	@$(BIN)/python -m training.train $(ARGS)

picture: setup  ## make the README's picture anew: two moments of a short demo
	@$(BIN)/python -m seg_ros.ros.demo --seconds 8 --rows 2 --out output/picture
	@$(BIN)/python tools/readme.py --picture output/picture/contact_sheet.png

readme: setup  ## write the README's parameter table and figures anew
	@$(BIN)/python tools/readme.py

lock: setup  ## pin every package anew after a change of requirements/
	@$(BIN)/python tools/ros_from_pip/lock.py

clean:  ## remove .venv and everything that commands wrote
	rm -rf .venv .setup build install log demo_output *.egg-info .pytest_cache .mypy_cache .ruff_cache
