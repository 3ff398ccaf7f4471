from __future__ import annotations

import os

import pytest

from mien.face.quiet import native_logs_dropped

CHATTER = (
    b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"W0000 00:00:1795223879.146283    8467 inference_feedback_manager.cc:114] Feedback\n"
    b"I0000 00:00:1795223879.146283    8467 gl_context.cc:1] GL\n"
)


def test_only_log_chatter_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with native_logs_dropped():
        os.write(2, CHATTER)
        os.write(2, b"E0000 00:00:1795223879.1    8467 graph.cc:1] it broke\n")
        os.write(2, b"other words\n")
        os.write(2, b"no newline")
    assert capfd.readouterr().err == (
        "E0000 00:00:1795223879.1    8467 graph.cc:1] it broke\nother words\nno newline"
    )
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def test_what_was_said_before_an_error_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), native_logs_dropped():
        os.write(2, b"a reason\n")
        raise RuntimeError
    assert capfd.readouterr().err == "a reason\n"
