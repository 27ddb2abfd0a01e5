"""Publishes a picture and silence with FFmpeg's `whip` muxer: `python whip_av.py <url> <bearer token> <frames>`."""

import sys
import time
from fractions import Fraction

import av

FRAMES_PER_S, SAMPLES = 25, 960


def main(url: str, token: str, frames: int) -> None:
    with av.open(url, "w", format="whip", options={"authorization": token}) as container:
        video = container.add_stream(
            "libx264", FRAMES_PER_S,
            options={"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "g": "25", "bf": "0"},
        )  # fmt: skip
        video.width, video.height, video.pix_fmt, video.bit_rate = 320, 240, "yuv420p", 300_000
        audio = container.add_stream("libopus", 48000, layout="stereo")
        begun = time.monotonic()
        samples = 0
        for number in range(frames):
            picture = av.VideoFrame(320, 240, "yuv420p")
            for plane, level in zip(picture.planes, (number * 8 % 256, 128, 128), strict=True):
                plane.update(bytes((level,)) * plane.buffer_size)
            picture.pts, picture.time_base = number, Fraction(1, FRAMES_PER_S)
            container.mux(video.encode(picture))
            while samples * FRAMES_PER_S < (number + 1) * 48000:
                sound = av.AudioFrame("flt", "stereo", SAMPLES)
                sound.planes[0].update(bytes(sound.planes[0].buffer_size))
                sound.pts, sound.sample_rate, sound.time_base = samples, 48000, Fraction(1, 48000)
                container.mux(audio.encode(sound))
                samples += SAMPLES
            time.sleep(max(0.0, begun + (number + 1) / FRAMES_PER_S - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
