"""Edit the pictures of a camera live; a clip may stand in for it.

python examples/webcam.py 0 happy:0.7          a camera, shown in a window (needs opencv-python)
python examples/webcam.py CLIP happy:0.7 OUT   a clip; the last picture is saved as OUT
"""

from __future__ import annotations

import sys
from time import perf_counter

import cv2

import mien


def main(source: str, emotion: str, output: str | None = None) -> None:
    """Edit picture after picture until the source ends or the window is closed with q."""
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    seconds = 0.0
    with mien.Editor(emotion, face="all", label="en") as editor:
        number = 0
        while (read := capture.read())[0]:
            begin = perf_counter()
            edited = editor(read[1][..., ::-1])[..., ::-1]
            seconds += perf_counter() - begin
            number += 1
            if output is None:
                cv2.imshow("mien", edited)
                if cv2.waitKey(1) == ord("q"):
                    break
    if not number:
        raise SystemExit(f"{source} gives no pictures.")
    if output is not None:
        cv2.imwrite(output, edited)
    print(f"{number} pictures, {1000 * seconds / number:.0f} ms each")


if __name__ == "__main__":
    main(*sys.argv[1:])
