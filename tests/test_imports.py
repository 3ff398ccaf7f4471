from __future__ import annotations

import subprocess
import sys

import pytest

import mien

HEAVY = ("numpy", "cv2", "av", "onnxruntime", "rich", "torch")


@pytest.mark.parametrize("code", ["import mien", "import mien.cli"])
def test_nothing_heavy_is_imported(code: str) -> None:
    program = f"import sys; {code}; print([m for m in {HEAVY!r} if m in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() in ("[]", "['rich']")


def test_public_names_exist() -> None:
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    assert set(mien.__all__) <= set(dir(mien))
    with pytest.raises(AttributeError):
        mien.nothing  # noqa: B018
