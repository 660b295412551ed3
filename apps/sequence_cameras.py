"""Cameras that somebody knows, of the frames of a sequence. A file and a source in; a table out."""

import logging
from pathlib import Path
from typing import Optional

from apps.sequence_source import PhotoSource, Source, VideoSource
from apps.sequence_windows import KnownCameras
from runtime.errors import InputError
from runtime.photo.decode import focal_px_of, orientation_of, photo_size
from runtime.photo.frame_times import frame_times
from runtime.photo.frames import video_size
from runtime.scene.camera_files import read_cameras
from runtime.scene.camera_match import Shot, match_cameras

log = logging.getLogger(__name__)


def known_cameras(
    file: Path, source: Source, focal_px: Optional[float], ignore_distortion: bool
) -> KnownCameras:
    """The camera of each frame that has one; see ``match_cameras``.

    Raises:
        InputError: no frame has one, or the file and the frames do not fit.
    """
    photos = None
    if isinstance(source, VideoSource):
        if source.fps is not None:
            raise InputError("--fps: known cameras are told by a video's own frames; leave it out")
        shots, numbers = _of_video(source), None
    else:
        assert isinstance(source, PhotoSource)
        photos = source.photos
        shots, numbers = _of_photos(source)

    def focal(index: int) -> Optional[float]:
        if focal_px is not None or numbers is None or photos is None:
            return focal_px
        return focal_px_of(photos[numbers[index]])

    matched = match_cameras(read_cameras(file), shots, focal, ignore_distortion)
    if matched.missing:
        log.warning("left out: %d frames without a camera in %s", len(matched.missing), file)
    places = [index if numbers is None else numbers[index] for index in matched.indices]
    return KnownCameras(
        dict(zip(places, matched.extrinsics)), dict(zip(places, matched.intrinsics))
    )


def _of_video(source: VideoSource) -> list[Shot]:
    times, size_hw = frame_times(source.path), video_size(source.path)
    return [
        Shot(f"{number:06d}.png", size_hw, number, times.seconds(number), 1)
        for number in range(times.count)
    ]


def _of_photos(source: PhotoSource) -> tuple[list[Shot], list[int]]:
    """Of photos whose header can be read, and their numbers."""
    shots, numbers = [], []
    for number, photo in enumerate(source.photos):
        try:
            size_hw = photo_size(photo)
        except InputError:
            continue
        shots.append(Shot(photo.name, size_hw, None, None, orientation_of(photo)))
        numbers.append(number)
    return shots, numbers
