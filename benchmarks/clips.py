"""Make long clips from short ones, for benchmarks."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av


def loop(source: Path, target: Path, seconds: float) -> Path:
    """Repeat the video of ``source``, without re-encoding, up to ``seconds``."""
    with av.open(str(target), "w") as out:
        stream, base = None, 0
        while True:
            with av.open(str(source)) as clip:
                picture = clip.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(picture)
                end = base
                for packet in clip.demux(picture):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += base
                    packet.dts += base
                    end = max(end, packet.pts + (packet.duration or 1))
                    packet.stream = stream
                    out.mux(packet)
                base = end
                if base * Fraction(picture.time_base) >= seconds:
                    return target
