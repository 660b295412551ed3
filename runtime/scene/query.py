"""What is asked about views of a scene, beside their depth.

Known cameras and options in; one value that has checked itself out. It computes nothing but the
cameras of some of the views, and where cameras stand.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

import numpy as np

from runtime.errors import InputError
from runtime.scene.cameras import homogeneous, normalise_extrinsics
from runtime.scene.reference_view import DEFAULT_STRATEGY, check_strategy
from runtime.scene.views import View, check_camera_counts, view_intrinsics


@dataclass(frozen=True, eq=False)
class SceneQuery:
    """A question about the views of a scene; its fields are called as upstream's arguments are.

    Cameras are arrays of any float type and become float64; extrinsics also become 4x4. Leading
    axes are free: (N, ...) for one scene, (B, N, ...) for a batch of them.

    Args:
        extrinsics: (..., N, 3 or 4, 4), world-to-camera, of known cameras; given with intrinsics.
        intrinsics: (..., N, 3, 3), in pixels.
        align_to_input_ext_scale: give depth in the unit of the known cameras, and return those;
            otherwise depth keeps the network's unit and the known cameras are moved into it.
        export_feat_layers: blocks whose tokens are wanted, from 0; eager networks only.
        infer_gs: find Gaussian splats too; eager da3-giant and nested only.
        use_ray_pose: find cameras by the ray maps.
        ref_view_strategy: how the reference view is chosen, from three views on.
    Raises:
        InputError: one half of the cameras, shapes that do not fit, numbers that are not finite, a
            block below 0, or an unknown strategy.
    """

    extrinsics: Optional[np.ndarray] = None
    intrinsics: Optional[np.ndarray] = None
    align_to_input_ext_scale: bool = True
    export_feat_layers: Sequence[int] = ()
    infer_gs: bool = False
    use_ray_pose: bool = False
    ref_view_strategy: str = DEFAULT_STRATEGY

    def __post_init__(self) -> None:
        check_strategy(self.ref_view_strategy)
        if any(layer < 0 for layer in self.export_feat_layers):
            raise InputError(f"export_feat_layers={list(self.export_feat_layers)}: use 0 or more")
        if (self.extrinsics is None) != (self.intrinsics is None):
            raise InputError("cameras: give extrinsics and intrinsics together, or neither")
        if self.extrinsics is None or self.intrinsics is None:
            return
        extrinsics, intrinsics = homogeneous(self.extrinsics), np.array(self.intrinsics, float)
        expected = (*extrinsics.shape[:-2], 3, 3)
        if intrinsics.shape != expected:
            raise InputError(
                f"extrinsics are {extrinsics.shape} and intrinsics {intrinsics.shape}, expected "
                f"intrinsics {expected}"
            )
        if not (np.isfinite(extrinsics).all() and np.isfinite(intrinsics).all()):
            raise InputError("cameras: some numbers are not finite; leave unknown cameras out")
        object.__setattr__(self, "extrinsics", extrinsics)
        object.__setattr__(self, "intrinsics", intrinsics)

    @property
    def has_cameras(self) -> bool:
        """True if cameras are known."""
        return self.extrinsics is not None

    def in_pixels_of(self, views: Sequence[View]) -> "SceneQuery":
        """The same with intrinsics in pixels of the views, instead of the photos.

        Raises:
            InputError: cameras that are not one a view.
        """
        check_camera_counts(len(views), self.extrinsics, self.intrinsics)
        return replace(self, intrinsics=view_intrinsics(views, self.intrinsics))

    def of_views(self, indices: Sequence[int]) -> "SceneQuery":
        """The same about some of the views of one scene, in this order."""
        if self.extrinsics is None or self.intrinsics is None:
            return self
        some = list(indices)
        return replace(self, extrinsics=self.extrinsics[some], intrinsics=self.intrinsics[some])

    def normalised(self) -> "SceneQuery":
        """The same with the cameras of one scene as networks expect them.

        The first stands at the origin, the median one at distance 1: see ``normalise_extrinsics``.
        """
        if self.extrinsics is None:
            return self
        return replace(self, extrinsics=normalise_extrinsics(self.extrinsics))
