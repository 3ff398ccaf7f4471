#!/usr/bin/env bash
# Release the version in src/mien/utils/version.py: check, build, tag and, with --upload, send it to
# the package index that twine is set up for. Run as "make release" or "make release UPLOAD=--upload".
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/mien/utils/version.py)
refuse() { echo "release: $1" >&2; exit 1; }

[ -n "$version" ] || refuse "no version in src/mien/utils/version.py"
[ -z "$(git status --porcelain)" ] || refuse "commit your changes first"
git rev-parse -q --verify "refs/tags/v$version" >/dev/null && refuse "v$version is tagged already; raise the version"
grep -q "^## $version " CHANGELOG.md || refuse "CHANGELOG.md has no section \"## $version (DATE)\""
grep -q "^version: $version$" CITATION.cff || refuse "CITATION.cff names another version"
grep -q '^Source = "https://' pyproject.toml || refuse "name the repository as Source under [project.urls] in pyproject.toml"

bash .ci/run
bash tools/release_check.sh
git tag --annotate "v$version" --message "mien $version"
echo "tagged v$version; push it with: git push origin v$version"
if [ "${1:-}" = --upload ]; then
    "$BIN/twine" upload dist/*
else
    echo "dist/ holds what would be uploaded"
fi
