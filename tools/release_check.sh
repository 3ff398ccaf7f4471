#!/usr/bin/env bash
# Build the sdist and the wheel, check them, and try the wheel in a fresh environment of every
# Python from 3.11 on that is here. Run as "make release-check"; needs BIN, the bin folder of the
# development environment. The distributions are left in dist/.
set -euo pipefail
cd "$(dirname "$0")/.."

max_wheel_mb=40
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rm -rf dist
"$BIN/python" -m build --outdir dist .
"$BIN/twine" check --strict dist/*

wheel=$(echo "$PWD"/dist/*.whl)
size=$(stat -c %s "$wheel" 2>/dev/null || stat -f %z "$wheel")
echo "wheel: $((size / 1024)) KiB (at most $max_wheel_mb MiB)"
[ "$size" -le $((max_wheel_mb * 1024 * 1024)) ] || { echo "the wheel is too large"; exit 1; }

# Prints the command of a Python if it can be run and is the asked version.
find_python() {
    for candidate in "python3.$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$1".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit(sys.version_info[1] != $1)" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

constraints=$PWD/constraints.txt
demo=$PWD/src/mien/assets/demo
cd "$work"  # away from src/, so that the wheel is what runs
tried=()
for minor in 11 12 13 14; do
    python=$(find_python $minor)
    [ -n "$python" ] || { echo "Python 3.$minor is not here"; continue; }
    "$python" -m venv --clear venv
    venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint "$constraints" "$wheel"
    venv/bin/python -m pip --disable-pip-version-check check
    echo "Python 3.$minor: $(du -sm venv | cut -f1) MB"
    venv/bin/mien --version
    venv/bin/mien doctor
    venv/bin/mien edit "$demo/woman.jpg" --emotion sad --output "sad$minor.png"
    venv/bin/mien edit "$demo/clip.mp4" --emotion happy --output "happy$minor.mp4"
    [ -s "sad$minor.png" ] && [ -s "happy$minor.mp4" ] || { echo "an output is missing"; exit 1; }
    tried+=("3.$minor")
done
[ ${#tried[@]} -gt 0 ] || { echo "no Python was found"; exit 1; }
echo "release check passed: $(basename "$wheel") on Python ${tried[*]}"
