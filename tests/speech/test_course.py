"""The course of a voice's emotion, on made-up readings and with a made-up listener."""

from __future__ import annotations

import numpy as np
import pytest

from mien.speech.course import parts, settle
from mien.speech.listener import VOCAL_TRACTS, VOICE_EMOTIONS, Listener

from .voices import RATE, buzz

KINDS = 4


def readings(*likeliest: int, sure: float = 0.8) -> np.ndarray:
    odds = np.full((len(likeliest), KINDS), (1 - sure) / (KINDS - 1), np.float32)
    odds[np.arange(len(likeliest)), likeliest] = sure
    return odds


def test_one_emotion_is_one_part_whatever_single_seconds_say() -> None:
    for misread in ((1, 0, 0, 0, 0, 0), (0, 0, 1, 0, 2, 0), (1, 1, 0, 0, 0, 0), (0, 0, 0, 0, 1)):
        assert parts(readings(*misread)) == [slice(0, len(misread))]


def test_a_real_change_divides_the_voice_there() -> None:
    moments = readings(0, 0, 2, 0, 0, 1, 1, 1, 2, 1)
    assert parts(moments) == [slice(0, 5), slice(5, 10)]
    again = readings(*(5 * [0] + 6 * [1] + 5 * [0]))
    assert parts(again) == [slice(0, 5), slice(5, 11), slice(11, 16)]


def test_moments_move_around_the_voice_and_keep_their_length() -> None:
    around, own = np.eye(3, dtype=np.float32)[:2]
    (moved,) = settle(own[None], around)
    assert np.linalg.norm(moved) == pytest.approx(1)
    assert moved @ around > moved @ own > 0.05
    assert np.allclose(settle(around[None], around), around)


class PitchListener(Listener):
    """Hears a low voice as sad and a high one as happy."""

    size = 2

    def __init__(self) -> None:
        pass

    def embed(
        self, voices: list[np.ndarray], octaves: tuple[float, ...] = VOCAL_TRACTS
    ) -> np.ndarray:
        high = [np.median(rows[rows[:, 81] > 0.5, 80]) > 0 for rows in voices]
        return np.eye(2, dtype=np.float32)[np.int64(high)]

    def classify(
        self, embeddings: np.ndarray, *_: object, **__: object
    ) -> tuple[np.ndarray, np.ndarray]:
        odds = np.full((len(embeddings), len(VOICE_EMOTIONS)), 0.02, np.float32)
        odds[:, VOICE_EMOTIONS.index("sad")] += embeddings[:, 0]
        odds[:, VOICE_EMOTIONS.index("happy")] += embeddings[:, 1]
        return odds / odds.sum(1, keepdims=True), np.ones(len(embeddings), np.float32)


def test_two_voices_joined_change_once_within_a_second() -> None:
    for joint in (5.3, 11.0, 7.7):
        sound = np.concatenate([buzz(joint, 110), buzz(15 - joint, 260)])
        curve = PitchListener().analyse(sound.astype(np.float32)).curve
        names = [VOICE_EMOTIONS[int(m.emotion.argmax())] for m in curve]
        (change,) = [i for i in range(1, len(names)) if names[i] != names[i - 1]]
        assert (names[0], names[-1]) == ("sad", "happy")
        assert abs((curve[change - 1].time + curve[change].time) / 2 - joint) <= 1
    steady = PitchListener().analyse(buzz(15.0, 110)).curve
    assert {VOICE_EMOTIONS[int(m.emotion.argmax())] for m in steady} == {"sad"}
    assert len(buzz(15.0)) == 15 * RATE


class TouchyListener(PitchListener):
    """Hears the least height as happy."""

    def classify(
        self, embeddings: np.ndarray, *_: object, **__: object
    ) -> tuple[np.ndarray, np.ndarray]:
        return super().classify(embeddings * np.array([0.1, 1], np.float32))


def test_no_second_names_another_emotion_than_its_part() -> None:
    sound = np.concatenate([buzz(6.0, 110), buzz(1.5, 260), buzz(6.0, 110)])
    curve = TouchyListener().analyse(sound.astype(np.float32)).curve
    assert {VOICE_EMOTIONS[int(m.emotion.argmax())] for m in curve} == {"sad"}
