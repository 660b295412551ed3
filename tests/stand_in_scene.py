"""``da3`` with a stand-in for the network that finds splats: ``python stand_in_scene.py WORDS``.

Photos are views of a wavy wall about 3 away, each camera a step aside of the one before, and a
splat a pixel has its colour. A view takes ``STEP_S`` seconds, in one step. How often it ran is in
the file ``RUNS`` names.
"""

import os
import time
from pathlib import Path

import numpy as np

from runtime.artifact.manifest import WeightsSpec
from runtime.predict.found import Provenance, ScenePrediction
from runtime.scene.gaussians import Gaussians
from runtime.scene.views import make_view, same_size

STEP_S, RUNS = "STAND_IN_STEP_S", "STAND_IN_RUNS"  # variables
DISTANCE, ASIDE, FIRST = 3.0, 0.12, 0.28209479  # of the wall; between cameras; a harmonic
RES = 140


class StandInScene:
    """As ``apps.scene_models.SceneModel``."""

    name, licence, hears = "da3-giant", "Apache-2.0", None
    finds_cameras = finds_splats = True
    compiled_views = ()

    def check(self, query):
        pass

    def needed_bytes(self, count, sizes_hw, splats):
        return None

    def free_bytes(self):
        return None

    def provenance(self):
        return Provenance(self.name, WeightsSpec("checkpoint", "0" * 64, self.licence, "w"))

    def load(self, sizes_hw):
        pass

    def view(self, photo):
        return make_view(photo, RES, "upper_bound_resize")

    def at(self, process_res, process_res_method):
        return self

    def steps(self, query, views):
        return views

    def infer(self, views, photos, query, intrinsics, focal_px, request, step):
        if RUNS in os.environ:
            with Path(os.environ[RUNS]).open("a") as file:
                file.write("x")
        for _ in views:
            time.sleep(float(os.environ.get(STEP_S, "0")))
            step()
        found = wall(np.stack([view.rgb for view in same_size(views)]), query.infer_gs)
        found.provenance = self.provenance()
        if request is not None:
            request.write(found, views)
        return found


def wall(images, splats):
    """Views (N, H, W, 3) of a wall with waves in it."""
    count, height, width = images.shape[:3]
    focal = 0.9 * width
    lens = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    cameras = np.tile(np.eye(4, dtype=np.float32)[:3], (count, 1, 1))
    cameras[:, 0, 3] = -ASIDE * np.arange(count)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    depth = DISTANCE + 0.5 * np.sin(3 * x / width) * np.cos(2 * y / height)
    depth = np.broadcast_to(depth.astype(np.float32), (count, height, width)).copy()
    found = ScenePrediction(
        depth=depth,
        conf=np.full_like(depth, 2),
        extrinsics=cameras,
        intrinsics=np.tile(lens, (count, 1, 1)),
        processed_images=images,
    )
    if splats:
        rays = np.stack(((x - width / 2) / focal, (y - height / 2) / focal, np.ones_like(x)), -1)
        means = rays * depth[..., None]
        means[..., 0] += ASIDE * np.arange(count)[:, None, None]
        harmonics = np.zeros((depth.size, 3, 9))
        harmonics[:, :, 0] = (images.reshape(-1, 3) / 255 - 0.5) / FIRST
        parts = {
            "means": means.reshape(-1, 3),
            "scales": np.repeat(0.7 * depth.reshape(-1, 1) / focal, 3, axis=1),
            "rotations": np.tile([1.0, 0, 0, 0], (depth.size, 1)),
            "harmonics": harmonics,
            "opacities": np.full(depth.size, 0.95),
        }
        found.gaussians = Gaussians(**{n: p[None].astype(np.float32) for n, p in parts.items()})
    return found


if __name__ == "__main__":
    import apps.scene_models

    apps.scene_models.find_scene_model = lambda *args, **named: StandInScene()

    from apps.da3 import main

    raise SystemExit(main())
