#!/bin/sh
# Installs Moyai and its tools into .venv, at the versions in constraints.txt.
set -eu
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3.11}"
command -v "$PYTHON" >/dev/null 2>&1 || {
    echo "make: $PYTHON is not there; install Python 3.11, or say which to use: make PYTHON=/path/to/python3.11 $*" >&2
    exit 1
}
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
# Bytecode is compiled at the install: without it every start of a command would compile again.
unset PYTHONDONTWRITEBYTECODE || true
if .venv/bin/python -m pip install -q -c constraints.txt uv 2>/dev/null &&
    .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode -c constraints.txt -e '.[dev]'; then
    :
else
    echo "install: uv could not install; using pip, which takes about a minute" >&2
    .venv/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
fi
.venv/bin/python -m compileall -q src
