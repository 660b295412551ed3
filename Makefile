# The menu. `make` alone prints it; CI calls the same targets.
.DEFAULT_GOAL := help
.PHONY: help setup checkpoints compile plan inference test test-all fuzz check bench evaluate train-demo serve clean
.PHONY: da3 backend gallery app video viewers batch package deploy invoke update undeploy
.NOTPARALLEL: # two installs would meet in .venv

MODEL  ?= vits
TARGET ?= auto
SIZES  ?= usual
BATCH  ?= 1
RATE   ?= 100
FUZZ_SECONDS ?= 60
ARGS   ?=
PY     := .venv/bin/python
# A test process a core; ARGS="-n 0" runs the tests in one
CORES  := -n auto --maxprocesses 8 --dist worksteal
# Where none is named here, each job chooses: the first model that has weights on this machine
NAMED  := $(if $(filter command line environment,$(origin MODEL)),--model $(MODEL))

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 20
	@echo
	@echo '  variables: MODEL=vits TARGET=auto SIZES="518x518 518x686" BATCH=1 ARGS="--side-by-side" PYTHON=python3.9'

# Installed once, and again when a pin, the project file or the script changes
.venv/has-base: pyproject.toml setup.sh constraints/py39.txt constraints/current.txt
	@./setup.sh

.venv/has-%: .venv/has-base
	@./setup.sh $*

# What a target needs beyond the base: extras of pyproject.toml, added when it is first used
needs = $(1:%=.venv/has-%)
said  = $(if $(filter $(1) %=$(1),$(ARGS)),$(1))
TESTS := serve batch int8 ray video dev
SCENES := views views:% colmap:% eth3d:% scannetpp:%
check:                                  $(call needs,serve lint)
test test-all fuzz:                     $(call needs,$(TESTS))
serve:                                  $(call needs,serve)
da3:                                    $(call needs,da3)
video:                                  $(call needs,video)
backend:                                $(call needs,serve video)
gallery:                                $(call needs,serve)
app:                                    $(call needs,app)
batch:                                  $(call needs,batch $(call said,ray))
package deploy invoke update undeploy:  $(call needs,aws)
compile:                                $(call needs,$(call said,int8))
evaluate:                               $(call needs,$(if $(filter $(SCENES),$(ARGS)),evaluate))
bench:                                  $(call needs,bench $(call said,int8) \
                                            $(if $(filter load soak,$(ARGS)),serve) \
                                            $(if $(filter batch fleet inputs kills,$(ARGS)),batch) \
                                            $(if $(filter batch,$(ARGS)),ray) \
                                            $(if $(filter video,$(ARGS)),video))

setup: .venv/has-base ## make .venv with what `make inference` needs; other targets add theirs
	@mkdir -p input_images output_depth

checkpoints: .venv/has-base ## fetch official weights: MODEL=vits
	@$(PY) -m compile fetch $(or $(NAMED),--model vits)

compile: .venv/has-base ## checkpoint to artifacts: MODEL= TARGET= SIZES= BATCH= ARGS="--views 4"
	@$(PY) -m compile $(NAMED) --target $(TARGET) --sizes $(SIZES) --batch $(BATCH) \
	    --seeded-fallback $(ARGS)

plan: .venv/has-base ## estimate Inf1 instances and dollars: MODEL=vits RATE=2000
	@$(PY) -m compile plan $(or $(NAMED),--model vits) --rate $(RATE) $(ARGS)

inference: .venv/has-base ## input_images/ to output_depth/; compiles the model first if it must: MODEL= ARGS=
	@$(PY) inference.py $(NAMED) $(ARGS)

test: .venv/has-base ## the tests that take minutes in all: ARGS="tests/test_photo.py -k jpeg"
	@$(PY) -m pytest $(CORES) -m "not slow" $(ARGS)

test-all: .venv/has-base ## every test: large models, real servers at length, fuzzing, kills
	@$(PY) -m pytest $(CORES) $(ARGS)

fuzz: .venv/has-base ## random photos, names and requests for as long as you like: FUZZ_SECONDS=600 each
	@FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest $(CORES) -m fuzz $(ARGS)

check: .venv/has-base ## format, lint, types
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy runtime exports compile serve apps metric_depth

bench: .venv/has-base ## measure on this machine, about five minutes; ARGS="latency" for one, ARGS=--help for all
ifdef ARGS
	@$(PY) -m benchmarks $(ARGS)
else
	@$(PY) -m benchmarks latency --alone --rounds 3
	@$(PY) -m benchmarks end2end --photos 4 --rounds 3
	@$(PY) -m benchmarks compile --models demo --targets openvino
	@echo "beside other people's packages: make bench ARGS=latency; the full list: make bench ARGS=--help"
endif

evaluate: .venv/has-base ## depth against ground truth: MODEL= ARGS="--dataset motorcycle"
	@$(PY) -m metric_depth.evaluate $(NAMED) $(ARGS)

train-demo: .venv/has-base ## make the demo checkpoint again: ARGS="--resume"
	@$(PY) -m metric_depth.train $(ARGS)

serve: .venv/has-base ## the HTTP service on artifacts/, port 8080; compiles the model first if it must: MODEL=
	@$(PY) -m apps.serving $(NAMED) $(ARGS)

video: .venv/has-base ## videos to videos of their depth: MODEL= ARGS="--video-path clip.mp4"
	@$(PY) run_video.py $(NAMED) $(ARGS)

da3: .venv/has-base ## Depth Anything 3's command for scenes: MODEL=da3-small ARGS="auto room/"
	@$(PY) -m apps.da3 $(ARGS) $(if $(NAMED),--model-dir $(MODEL))

backend: .venv/has-base ## tasks over HTTP with a dashboard, port 8008: MODEL=da3-small ARGS="--root ."
	@$(PY) -m apps.da3 backend $(ARGS) $(if $(NAMED),--model-dir $(MODEL))

gallery: .venv/has-base ## a page of the scenes in workspace/gallery, port 8007: ARGS="--export page.html"
	@$(PY) -m apps.da3 gallery $(ARGS)

app: .venv/has-base ## the app in a browser (Python 3.10 or newer), port 7860: ARGS="--server URL"
	@$(PY) app.py $(ARGS) $(if $(NAMED),--model-dir $(MODEL))

viewers: ## build the viewers of points and splats again, with npm, by their lock file
	@cd deploy/viewers && npm ci --no-audit --no-fund --ignore-scripts && npm run build

batch: .venv/has-base ## depth for many photos, restartable: ARGS="--input photos/ --output depth/"
	@$(PY) -m serve.batch run $(if $(NAMED),--model $(MODEL)) $(ARGS)

package: .venv/has-base ## artifacts to model.tar.gz for SageMaker: ARGS="--artifact FOLDER"
	@$(PY) -m serve.sagemaker package $(ARGS)

deploy: .venv/has-base ## model.tar.gz to a SageMaker endpoint: ARGS="--help", docs/sagemaker.md
	@$(PY) -m serve.sagemaker deploy $(ARGS)

invoke: .venv/has-base ## a photo to that endpoint: ARGS="--endpoint NAME --photo FILE --output FILE"
	@$(PY) -m serve.sagemaker invoke $(ARGS)

update: .venv/has-base ## that endpoint to new settings, blue/green: ARGS=
	@$(PY) -m serve.sagemaker update $(ARGS)

undeploy: .venv/has-base ## delete that endpoint and all that belongs to it: ARGS="--endpoint NAME"
	@$(PY) -m serve.sagemaker undeploy $(ARGS)

clean: ## remove output_depth/ and nothing else
	@rm -rf output_depth
