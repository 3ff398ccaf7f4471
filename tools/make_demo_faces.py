"""Make the average faces that ship as demo material.

Each picture is the mean of twenty people (and their mirror images): every face is brought into
one frame, warped onto the mean landmarks of the group, matched in colour and averaged, so that it
shows no real person. The surroundings fade into a plain backdrop.

    python tools/make_demo_faces.py ../shared src/mien/assets/demo
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from mien.engines.mesh.warp import Region, extend, motion_field, warp
from mien.face.pose import head_pose
from mien.face.topology import OVAL, canonical_face
from mien.face.tracker import FaceTracker
from mien.media.read import VideoReader
from mien.media.still import is_still, read_still, write_still

SIZE = 512
EYE_DISTANCE = 108.0
EYES_AT = (256.0, 226.0)
LOOKS, SECONDS = 8, 8.0
HAIR = {"woman": 0.68, "man": 0.585, "both": 0.60}

# (file, index of the frame): frontal, calm, mouth closed
WOMEN = (
    ("media/portraits/anitalker_aiface2.jpg", 0),
    ("media/portraits/anitalker_aiface3.jpg", 0),
    ("media/portraits/anitalker_aiface4.jpg", 0),
    ("media/portraits/c-met_ChatGPT_woman2_crop.jpg", 0),
    ("media/portraits/c-met_ChatGPT_woman4_crop.jpg", 0),
    ("media/portraits/c-met_ChatGPT_woman_crop.jpg", 0),
    ("media/portraits/liveportrait_s42.jpg", 0),
    ("media/portraits/hallo_6.jpg", 0),
    ("media/videos/odd_480x908_2997fps.mp4", 3),
    ("data/talking/video/liveportrait_assets_examples_driving_d6.mp4", 0),
    ("data/talking/video/liveportrait_assets_examples_driving_d3.mp4", 0),
    ("data/talking/video/pc-avs_Pose_Source_517600055.mp4", 3),
    ("data/talking/video/v-express_test_samples_vasa-1_12_gt.mp4", 2),
    ("data/talking/video/v-express_test_samples_vasa-1_9_gt.mp4", 5),
    ("data/talking/video/v-express_test_samples_vasa-1_l4_gt.mp4", 4),
    ("data/talking/video/v-express_test_samples_vasa-1_l5_gt.mp4", 0),
    ("data/talking/video/grid_evaluation_samples_GRID_lbbc2a.mp4", 6),
    ("data/talking/video/grid_evaluation_samples_GRID_lrwp9a.mp4", 0),
    ("data/talking/video/styletalk_samples_style_clips_video_surprisegirl_clip2.mp4", 2),
    ("data/talking/video/v-express_test_samples_vasa-1_11_gt.mp4", 4),
)
MEN = (
    ("media/portraits/c-met_ChatGPT_man3_crop.jpg", 0),
    ("media/portraits/c-met_ChatGPT_man_crop.jpg", 0),
    ("data/talking/video/float_ood_altman.mp4", 1),
    ("data/talking/video/float_ood_hinton.mp4", 6),
    ("data/talking/video/grid_evaluation_samples_GRID_bbaf2n.mp4", 7),
    ("data/talking/video/grid_evaluation_samples_GRID_pwij3p.mp4", 7),
    ("data/talking/video/grid_evaluation_samples_GRID_sbwe5n.mp4", 0),
    ("data/talking/video/grid_evaluation_samples_GRID_swiz3n.mp4", 3),
    ("data/talking/video/liveportrait_assets_examples_driving_d0.mp4", 1),
    ("data/talking/video/liveportrait_assets_examples_driving_d18.mp4", 7),
    ("data/talking/video/liveportrait_assets_examples_driving_d19.mp4", 1),
    ("data/talking/video/liveportrait_assets_examples_driving_d9.mp4", 0),
    ("data/talking/video/v-express_test_samples_vasa-1_17_gt.mp4", 7),
    ("data/talking/video/v-express_test_samples_vasa-1_3_gt.mp4", 4),
    ("data/talking/video/v-express_test_samples_vasa-1_l2_gt.mp4", 5),
    ("data/talking/video/v-express_test_samples_vasa-1_l3_gt.mp4", 0),
    ("data/talking/video/v-express_test_samples_vasa-1_5_gt.mp4", 4),
    ("data/talking/video/edtalk_test_data_pose_source2.mp4", 5),
    ("data/talking/video/pc-avs_Pose_Source_731200067.mp4", 6),
)


def picture(path: Path, look: int) -> np.ndarray:
    """Read one picture of a still or clip."""
    if is_still(path):
        return read_still(path)
    with VideoReader(path) as reader:
        return list(reader.first_look(LOOKS, SECONDS))[look]


def into_frame(image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Align picture and landmarks with the common frame; also return the scale."""
    eyes = np.stack([landmarks[[33, 133], :2].mean(0), landmarks[[263, 362], :2].mean(0)])
    across = eyes[1] - eyes[0]
    scale = EYE_DISTANCE / head_pose(landmarks).scale
    angle = -np.arctan2(across[1], across[0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shift = np.array(EYES_AT) - turn @ eyes.mean(0)
    matrix = np.hstack([turn, shift[:, None]])
    out = cv2.warpAffine(
        image, matrix, (SIZE, SIZE), flags=cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )
    points = landmarks.astype(np.float64).copy()
    points[:, :2] = points[:, :2] @ turn.T + shift
    points[:, 2] *= scale
    return out, points, scale


def mean_shape(shapes: list[np.ndarray]) -> np.ndarray:
    """Return the symmetric mean of head-frame landmarks in the frame, ``(478, 3)`` pixels."""
    heads = np.mean([head_pose(s).to_head(s) for s in shapes], 0)
    heads = (heads + heads[canonical_face().mirror] * [-1, 1, 1]) / 2
    points = heads * EYE_DISTANCE
    middle = (points[[33, 133]].mean(0) + points[[263, 362]].mean(0)) / 2
    points[:, :2] += np.array(EYES_AT) - middle[:2]
    return points


def onto(image: np.ndarray, points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Warp a face from its landmarks onto ``target``."""
    motion = (target - points)[:, :2]
    # Align the oval's mean first so that the rings need to bend little.
    vertices, moves = extend(points, motion)
    region = Region(0, 0, SIZE, SIZE, 1.0)
    depth = np.full(len(vertices), float(target[:, 2].mean()))
    depth[:478] = target[:, 2]
    return warp(image, motion_field(vertices, moves, depth, region), region)


def face_mask(points: np.ndarray, grow: float, blur: float) -> np.ndarray:
    """Return a soft mask of the face oval, 0..1, ``(H, W, 1)``."""
    mask = np.zeros((SIZE, SIZE), np.float32)
    oval = points[list(OVAL), :2]
    center = oval.mean(0)
    cv2.fillPoly(mask, [np.round(center + (oval - center) * grow).astype(np.int32)], 1.0)
    return cv2.GaussianBlur(mask, (0, 0), blur)[..., None]


def average(sources: list[tuple[np.ndarray, np.ndarray, float]], hair: float) -> np.ndarray:
    """Average aligned people and their mirror images, RGB; ``hair``: width of head kept."""
    target = mean_shape([points for _, points, _ in sources])
    skin = face_mask(target, 0.92, 2.0)[..., 0] > 0.5
    faces = [onto(image, points, target).astype(np.float32) for image, points, _ in sources]
    means = np.array([f[skin].mean(0) for f in faces])
    spreads = np.array([f[skin].std(0) for f in faces])
    goal_mean, goal_spread = np.median(means, 0) * 1.06, np.median(spreads, 0)
    total, weight_sum = np.zeros((SIZE, SIZE, 3)), 0.0
    for face, mean, spread, (_, _, scale) in zip(faces, means, spreads, sources, strict=True):
        matched = (face - mean) * np.clip(goal_spread / spread, 0.6, 1.6) + goal_mean
        weight = 1.0 / max(scale, 1.2)  # enlarged pictures are soft
        total += weight * (matched + matched[:, ::-1])
        weight_sum += 2 * weight
    mean_face = np.clip(total / weight_sum, 0, 255).astype(np.float32)
    sharp = mean_face + 0.9 * (mean_face - cv2.GaussianBlur(mean_face, (0, 0), 1.6))
    sharp += 0.35 * (mean_face - cv2.GaussianBlur(mean_face, (0, 0), 6.0))
    inner = face_mask(target, 1.0, 10.0)
    return backdrop(mean_face + (sharp - mean_face) * inner, target, hair)


def backdrop(image: np.ndarray, target: np.ndarray, hair: float) -> np.ndarray:
    """Put the head on a plain, softly lit ground; its surroundings fade out."""
    rows = np.linspace(1.03, 0.90, SIZE, dtype=np.float32)[:, None, None]
    ground = np.array([206, 208, 212], np.float32) * rows * np.ones((1, SIZE, 1), np.float32)
    head = np.zeros((SIZE, SIZE), np.float32)
    oval = target[list(OVAL), :2]
    center, (width, height) = oval.mean(0), np.ptp(oval, axis=0)
    cv2.ellipse(
        head,
        (round(center[0]), round(center[1] - 0.10 * height)),
        (round(hair * width), round(0.74 * height)),
        0, 0, 360, 1.0, -1, cv2.LINE_AA,
    )  # fmt: skip
    if hair < 0.65:  # short hair: what is beside the jaw is background
        head[round(center[1] + 0.02 * height) :] = 0
        jaw = center + (oval - center) * 1.07
        cv2.fillPoly(head, [np.round(jaw).astype(np.int32)], 1.0)
    neck = np.array(
        [(-0.34, 0.30), (0.34, 0.30), (0.38, 0.62), (1.05, 0.86), (1.25, 1.4), (-1.25, 1.4),
         (-1.05, 0.86), (-0.38, 0.62)]
    )  # fmt: skip
    cv2.fillPoly(head, [np.round(center + neck * [width, height]).astype(np.int32)], 1.0)
    chin = float(oval[:, 1].max())
    below = np.clip((np.arange(SIZE) - chin - 6) / 30, 0, 1)[:, None, None].astype(np.float32)
    image = image + (cv2.GaussianBlur(image, (0, 0), 7) - image) * below
    soft = cv2.GaussianBlur(head, (0, 0), 11)[..., None]
    return np.clip(ground + (image - ground) * soft, 0, 255).astype(np.uint8)


def main(shared: Path, out: Path) -> None:
    """Write woman.jpg, man.jpg and both.jpg."""
    out.mkdir(parents=True, exist_ok=True)
    groups: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {"woman": [], "man": []}
    with closing(FaceTracker(still=True, max_faces=1)) as tracker:
        for name, people in (("woman", WOMEN), ("man", MEN)):
            for file, look in people:
                image = picture(shared / file, look)
                found = tracker(image)
                if found:
                    groups[name].append(into_frame(image, found[0]))
                else:
                    print(f"no face in {file}")
    groups["both"] = groups["woman"] + groups["man"]
    for name, people in groups.items():
        write_still(out / f"{name}.jpg", average(people, HAIR[name]))
        print(f"{name}: {len(people)} people")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
