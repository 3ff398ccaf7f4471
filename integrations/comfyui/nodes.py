"""Three nodes over mien's verbs: edit, talk and feel.

ComfyUI's pictures are tensors ``(B, H, W, 3)``, 0..1; its sound is a dictionary of a ``waveform``
``(B, channels, samples)``, -1..1, and a ``sample_rate``.
"""

from __future__ import annotations

import json
import wave
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from comfy_api.latest import ComfyExtension, io

import mien

EMOTION = "A name, a strength or a mix: sad, sad:0.6, happy:0.7,surprised:0.4."
FACE = "largest, all, or a number: 1 is the leftmost."


class MienEdit(io.ComfyNode):
    """Change what a face feels in a picture, or in the frames of a film."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Say what the node takes and gives."""
        return io.Schema(
            node_id="MienEdit",
            display_name="mien: edit emotion",
            category="mien",
            description=cls.__doc__,
            inputs=[
                io.Image.Input("images", tooltip="One picture, or the frames of a film in order."),
                io.String.Input(
                    "emotion", default="happy", tooltip=f"{EMOTION} Empty: that of the voice."
                ),
                io.Float.Input("intensity", default=1.0, min=0.0, max=1.5, step=0.05),
                io.String.Input("face", default="largest", tooltip=FACE),
                io.Float.Input("fps", default=25.0, min=1.0, max=240.0, tooltip="Of the frames."),
                io.Audio.Input("like", optional=True, tooltip="A voice with the emotion."),
            ],
            outputs=[io.Image.Output("images"), io.String.Output("report")],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        emotion: str,
        intensity: float,
        face: str,
        fps: float,
        like: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """Edit all frames."""
        pictures = arrays(images)
        with TemporaryDirectory() as folder:
            voice = None if like is None else write_sound(like, Path(folder) / "voice.wav")
            result = mien.edit(
                pictures[0] if len(pictures) == 1 else pictures,
                emotion=emotion.strip() or None,
                like=voice,
                intensity=intensity,
                face=face,
                rate=None if len(pictures) == 1 else fps,
            )
            edited = tensor(result.frames)
            return io.NodeOutput(edited, json.dumps(result.report.to_dict()))


class MienTalk(io.ComfyNode):
    """Make a portrait speak a voice recording."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Say what the node takes and gives."""
        return io.Schema(
            node_id="MienTalk",
            display_name="mien: talk",
            category="mien",
            description=cls.__doc__,
            inputs=[
                io.Image.Input("portrait"),
                io.Audio.Input("speech"),
                io.String.Input(
                    "emotion", default="", tooltip=f"{EMOTION} Empty: that of the voice."
                ),
                io.Float.Input("intensity", default=1.0, min=0.0, max=1.5, step=0.05),
                io.String.Input("face", default="largest", tooltip=FACE),
                io.Combo.Input("fps", options=["25", "30", "50", "60"], default="25"),
                io.Float.Input("liveliness", default=1.0, min=0.0, max=2.0, step=0.1),
                io.Int.Input("seed", default=0, min=0, max=2**31 - 1),
            ],
            outputs=[
                io.Image.Output("images"),
                io.Audio.Output("speech"),
                io.Float.Output("fps"),
                io.String.Output("report"),
            ],
        )

    @classmethod
    def execute(
        cls,
        portrait: torch.Tensor,
        speech: dict[str, Any],
        emotion: str,
        intensity: float,
        face: str,
        fps: str,
        liveliness: float,
        seed: int,
    ) -> io.NodeOutput:
        """Make the clip."""
        settings = mien.TalkSettings(rate=int(fps), liveliness=liveliness, seed=seed)
        with TemporaryDirectory() as folder:
            voice = write_sound(speech, Path(folder) / "voice.wav")
            result = mien.talk(
                arrays(portrait)[0],
                voice,
                emotion=emotion.strip() or None,
                intensity=intensity,
                face=face,
                settings=settings,
            )
            images = tensor(result.frames)
            report = json.dumps(result.report.to_dict())
        return io.NodeOutput(images, speech, float(fps), report)


class MienFeel(io.ComfyNode):
    """Recognise the emotion of a voice, or of the largest face in a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Say what the node takes and gives."""
        return io.Schema(
            node_id="MienFeel",
            display_name="mien: feel",
            category="mien",
            description=cls.__doc__,
            inputs=[
                io.Audio.Input("voice", optional=True),
                io.Image.Input("picture", optional=True),
            ],
            outputs=[io.String.Output("emotion"), io.String.Output("details")],
        )

    @classmethod
    def execute(
        cls, voice: dict[str, Any] | None = None, picture: torch.Tensor | None = None
    ) -> io.NodeOutput:
        """Name the most likely emotion, with all numbers as JSON."""
        if (voice is None) == (picture is None):
            raise mien.InputError("Connect either a voice or a picture.")
        with TemporaryDirectory() as folder:
            if voice is not None:
                file = write_sound(voice, Path(folder) / "voice.wav")
            else:
                from PIL import Image

                file = Path(folder) / "picture.png"
                Image.fromarray(arrays(picture)[0]).save(file)
            felt = next(iter(mien.feel(file)))
        if isinstance(felt, mien.FaceFeeling):
            felt = max(felt.faces, key=largest)
        odds = felt.emotion
        details = {"emotion": odds, "valence": felt.valence, "arousal": felt.arousal}
        return io.NodeOutput(max(odds, key=odds.__getitem__), json.dumps(details))


class MienExtension(ComfyExtension):
    """What ComfyUI loads."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the nodes."""
        return [MienEdit, MienTalk, MienFeel]


async def comfy_entrypoint() -> MienExtension:
    """Return the extension."""
    return MienExtension()


def arrays(images: torch.Tensor) -> list[np.ndarray]:
    """Return the pictures of a batch, each RGB ``uint8 (H, W, 3)``."""
    numbers = images[..., :3].clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    return [np.ascontiguousarray(one) for one in numbers]


def tensor(pictures: Iterable[np.ndarray]) -> torch.Tensor:
    """Return a batch of pictures; each is turned into numbers as it is finished."""
    return torch.stack([torch.from_numpy(one.copy()).float().div(255) for one in pictures])


def largest(face: Any) -> int:  # noqa: ANN401 - a face of mien's result
    """Return the area of a face, pixels."""
    left, top, right, bottom = face.box
    return (right - left) * (bottom - top)


def write_sound(sound: dict[str, Any], path: Path) -> Path:
    """Write the first sound of a batch as a WAV file of 16 bits, all channels."""
    samples = sound["waveform"][0].clamp(-1, 1).mul(32767).round().to(torch.int16).cpu().numpy()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(int(sound["sample_rate"]))
        file.writeframes(np.ascontiguousarray(samples.T).astype("<i2").tobytes())
    return path
