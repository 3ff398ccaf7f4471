#!/usr/bin/env bash
# Build the sdist and the wheel, check them, and try the wheel in a fresh environment.
# Run as "make release-check"; needs BIN, the bin folder of the development environment.
set -euo pipefail
cd "$(dirname "$0")/.."

max_wheel_mb=24
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$BIN/python" -m build --outdir "$work/dist" .
"$BIN/twine" check --strict "$work"/dist/*

wheel=$(echo "$work"/dist/*.whl)
size=$(stat -c %s "$wheel" 2>/dev/null || stat -f %z "$wheel")
echo "wheel: $((size / 1024)) KiB (at most $max_wheel_mb MiB)"
[ "$size" -le $((max_wheel_mb * 1024 * 1024)) ] || { echo "the wheel is too large"; exit 1; }

"$BIN/python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --constraint constraints.txt "$wheel"
"$work/venv/bin/python" -m pip check
demo=$PWD/src/mien/assets/demo
cd "$work"  # away from src/, so that the wheel is what runs
venv/bin/mien doctor
venv/bin/mien edit "$demo/woman.jpg" --emotion sad --output sad.png
[ -s sad.png ] || { echo "the edited picture is missing"; exit 1; }
echo "release check passed: $(basename "$wheel")"
