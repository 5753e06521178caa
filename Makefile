PYTHON ?= python3.11
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: demo test lint type unit oracles score rule golden docs readme bench clean

demo: $(STAMP)  ## install, then check a real quantized model
	$(BIN)/qlint check tests/zoo/tiny_results_v1.3/resnet.onnx --backend qnn-htp,ort-cpu --exit-zero

test: $(STAMP) lint type unit  ## everything that CI runs

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

lint: $(STAMP)
	$(BIN)/ruff check qlint rules tools tests examples benchmarks
	$(BIN)/lint-imports

type: $(STAMP)
	$(BIN)/mypy

unit: $(STAMP)  ## on two cores; what is measured is measured alone
	$(BIN)/pytest -n 2 --ignore tests/budgets
	$(BIN)/pytest tests/budgets

golden: $(STAMP)  ## write the golden files again; read the diff
	$(BIN)/python tests/golden/golden.py

docs: $(STAMP)  ## write the generated parts of docs/ again, and the site from them into site/
	$(BIN)/python tools/docs.py
	$(BIN)/python -m mkdocs build --quiet

readme: $(STAMP)  ## write the generated parts of the README again (the score takes minutes)
	$(BIN)/python tools/readme.py

oracles: $(STAMP)  ## ask the real backends about the probes again
	$(BIN)/pip install --quiet -c constraints.txt -e ".[oracles]"
	$(BIN)/python tests/conformance/regenerate.py

score: $(STAMP)  ## how often qlint is right, against the stored answers
	$(BIN)/python tests/conformance/score.py

bench: $(STAMP)
	$(BIN)/python benchmarks/check.py

rule: $(STAMP)  ## scaffold: make rule NAME=my-rule
	$(BIN)/python tools/new_rule.py $(NAME)

clean:
	rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
