.PHONY: demo test thorough fuzz lowest readme docs bench clean
python = .venv/bin/python

demo: .venv/ready
	.venv/bin/advlab demo

test: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	$(python) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# The tests marked thorough as well, on the embedded digits: no data is needed.
thorough: .venv/ready
	ADVLAB_THOROUGH=1 $(python) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

# Hostile inputs drawn anew for so many minutes: docs/reliability.md says what was found.
fuzz: .venv/ready
	ADVLAB_FUZZ=$${ADVLAB_FUZZ:-60} $(python) -m pytest tests/fuzz -s

# All tests with the lowest versions that pyproject.toml declares, in an environment of their own.
lowest:
	test -x .venv-lowest/bin/python || python3 -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable '.[test]'
	.venv-lowest/bin/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

readme: .venv/ready
	$(python) benchmarks/readme.py --results

# The documentation site, from the pages of docs/ and from the code: build/site/index.html.
docs: .venv/ready
	$(python) docs/site/build.py

bench: .venv/ready
	$(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --constraint benchmarks/constraints.txt --editable '.[bench]'
	$(python) benchmarks/commands.py
	$(python) benchmarks/peers.py
	$(python) benchmarks/training.py
	$(python) benchmarks/certification.py
	$(python) benchmarks/audit.py

# Set up once: the pinned versions, and advlab itself in place.
.venv/ready: pyproject.toml constraints.txt
	test -x $(python) || python3 -m venv .venv
	$(python) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

clean:
	rm -rf .venv .venv-lowest build dist
