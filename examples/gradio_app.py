"""A page with sliders for pictures.

pip install gradio
python examples/gradio_app.py
"""

from __future__ import annotations

import gradio as gr
import numpy as np

import mien
from mien.emotion.request import NAMES


def edit(image: np.ndarray | None, emotion: str, intensity: float) -> np.ndarray | None:
    """Edit a picture; Gradio shows the reason where that is impossible."""
    if image is None:
        return None
    try:
        return mien.edit(image, emotion=emotion, intensity=intensity).image
    except mien.MienError as error:
        raise gr.Error(str(error)) from error


page = gr.Interface(
    edit,
    [gr.Image(), gr.Dropdown(list(NAMES), value="happy"), gr.Slider(0, 1.5, 1.0)],
    gr.Image(),
    title="Faces with feeling",
)

if __name__ == "__main__":
    page.launch()
