"""Identity by dlib's network, on the demo's composite faces."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import FaceNotFoundError, MissingExtraError
from mien.evaluation import identity
from mien.face.tracker import FaceTracker
from mien.media.still import read_still

from ..conftest import DEMO

pytest.importorskip("dlib")


def test_a_person_is_nearer_to_themselves_than_to_anybody_else() -> None:
    net = identity.IdentityNet()
    image = read_still(DEMO / "woman.jpg")
    landmarks = FaceTracker(max_faces=1, still=True)(image)[0]
    one = net.embed(image, landmarks)
    turn = cv2.getRotationMatrix2D((256, 256), 25, 0.6)
    turned = cv2.convertScaleAbs(cv2.warpAffine(image, turn, (512, 512)), alpha=0.7, beta=10)
    places = landmarks.copy()
    places[:, :2] = landmarks[:, :2] @ turn[:, :2].T + turn[:, 2]
    again, other = net.embed(turned, places), net.embed(read_still(DEMO / "man.jpg"))
    assert one.shape == (128,)
    assert one.dtype == np.float32
    assert np.linalg.norm(one - again) < identity.SAME_PERSON < np.linalg.norm(one - other)
    assert identity.likeness(one, again) > identity.likeness(one, other)
    assert identity.likeness(one, one) == pytest.approx(1)


def test_no_face_and_no_library_are_plain_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    net = identity.IdentityNet()
    with pytest.raises(FaceNotFoundError, match="no face"):
        net.embed(np.full((120, 120, 3), 90, np.uint8))
    monkeypatch.setattr(identity, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[metrics\]"):
        identity.weights_file()
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(MissingExtraError, match=r"mien\[metrics\]"):
        identity.IdentityNet()


def test_the_landmarks_align_as_dlibs_own_do() -> None:
    import dlib

    net = identity.IdentityNet()
    image = read_still(DEMO / "man.jpg")
    place = Path(net.file).with_name("shape_predictor_5_face_landmarks.dat")
    found = dlib.get_frontal_face_detector()(image)
    chip = dlib.get_face_chip(image, dlib.shape_predictor(str(place))(image, found[0]))
    landmarks = FaceTracker(max_faces=1, still=True)(image)[0]
    assert np.abs(net.align(image, landmarks).astype(int) - chip).mean() < 12
