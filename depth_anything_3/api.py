"""Depth Anything 3 for users: a model by name or folder, photos in, a prediction out.

Same import path, constructor, methods and checkpoint keys as upstream's ``depth_anything_3.api``.
Scenes become files by ``depth_anything_3.utils.export``, or at once by ``export_dir``.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Optional, Union, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from depth_anything_3.config import LICENCES, METRIC, NAMES, NESTED, NETWORKS
from depth_anything_3.model import VIEWS_IN_MEMORY, DepthAnything3Net, Output
from depth_anything_3.nested import NestedDepthAnything3Net
from depth_anything_3.pretrained import find_pretrained, looks_of_models, sort_options
from depth_anything_3.scene_exports import ExportRequest, export_request
from depth_anything_3.stages import to_numpy
from layers.checkpoint import load_checkpoint
from layers.precision import check_precision
from runtime.artifact.manifest import WeightsSpec
from runtime.errors import InputError
from runtime.files import sha256_of
from runtime.photo.arrays import as_rgb
from runtime.photo.decode import focal_px_of, read_photo
from runtime.predict.found import Provenance, ScenePrediction
from runtime.predict.given_cameras import align_to_given
from runtime.scene.focal import focal_of, refuse_useless_focal
from runtime.scene.query import SceneQuery
from runtime.scene.reference_view import DEFAULT_STRATEGY
from runtime.scene.sky import SKY_MASK, metric_depth
from runtime.scene.views import (
    PROCESS_RES,
    View,
    check_camera_counts,
    make_view,
    same_size,
    stack_views,
    view_intrinsics,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Photo = Union[str, Path, np.ndarray, Image.Image]


class DepthAnything3(nn.Module):
    """One of the models of Depth Anything 3 (Lin et al., 2025).

    Args:
        model_name: a name out of ``depth_anything_3.config.NAMES``.
        dtype: in which the encoder computes: float32, bfloat16 or float16 (CUDA only); heads and
            cameras are always float32.
        max_views_in_memory: views that the heads decode at once.
    Raises:
        InputError: an unknown name or dtype.
    """

    weights_file: Optional[Path] = None  # that ``from_pretrained`` read

    def __init__(
        self,
        model_name: str = "da3-large",
        dtype: str = "float32",
        max_views_in_memory: int = VIEWS_IN_MEMORY,
    ) -> None:
        super().__init__()
        if model_name not in NAMES:
            raise InputError(f"model_name={model_name!r}: use one of {', '.join(NAMES)}")
        if dtype not in DTYPES:
            raise InputError(f"dtype={dtype!r}: use one of {', '.join(DTYPES)}")
        if max_views_in_memory < 1:
            raise InputError(f"max_views_in_memory={max_views_in_memory}: use 1 or more")
        self.model_name, self.dtype = model_name, dtype
        self.model: nn.Module
        if model_name in NESTED:
            any_view, metric = (NETWORKS[name] for name in NESTED[model_name])
            self.model = NestedDepthAnything3Net(any_view, metric, max_views_in_memory)
        else:
            self.model = DepthAnything3Net(NETWORKS[model_name], max_views_in_memory)
        for network in self.modules():
            if isinstance(network, DepthAnything3Net):
                network.dtype = DTYPES[dtype]
        self.eval()

    @classmethod
    def from_pretrained(
        cls, source: Union[str, Path, None] = None, model_name: Optional[str] = None, **options: Any
    ) -> "DepthAnything3":
        """Build a model and give it official weights.

        Args:
            source: a folder with ``model.safetensors``, such a file, a model's name as
                ``da3-small``, or a name on the Hugging Face Hub as ``depth-anything/DA3-SMALL``;
                see ``depth_anything_3.pretrained``.
            model_name: which model it is; by default what ``config.json`` beside the weights says,
                or else what the folder is called.
            options: ``dtype`` and ``max_views_in_memory``, as for the constructor; for the Hub
                ``cache_dir``, ``force_download``, ``local_files_only``, ``revision``, ``token``;
                ``map_location``, a device; ``strict`` and ``resume_download`` change nothing.
        Raises:
            InputError: another option, or no source.
            CheckpointError: files are missing, damaged or do not fit; or the Hub cannot be
                reached.
        """
        source, hub, device, own = sort_options(source, options)
        found = find_pretrained(source, model_name, **hub)
        model = cls(found.model_name, **own)
        load_checkpoint(model, found.file, found.model_name, looks_of_models())
        model.weights_file = found.file
        return model if device is None else model.to(device)

    def forward(
        self,
        image: torch.Tensor,
        extrinsics: Optional[torch.Tensor] = None,
        intrinsics: Optional[torch.Tensor] = None,
        export_feat_layers: Optional[Sequence[int]] = None,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = DEFAULT_STRATEGY,
    ) -> Output:
        """Run the network on normalised images.

        Args:
            image: float (B, N, 3, H, W), RGB normalised with the ImageNet mean and standard
                deviation; H and W multiples of 14.
            extrinsics, intrinsics: (B, N, 3 or 4, 4), world-to-camera, and (B, N, 3, 3), in pixels
                of the images; known cameras, the first at the origin and the median at distance 1.
            export_feat_layers, infer_gs, use_ray_pose, ref_view_strategy: see ``SceneQuery``.
        Returns:
            tensors by name, as ``DepthAnything3Net.forward`` and the nested one do.
        Raises:
            InputError: images of another shape, cameras that do not fit them, or something that
                this model cannot find.
        """
        query = SceneQuery(
            extrinsics=None if extrinsics is None else to_numpy(extrinsics),
            intrinsics=None if intrinsics is None else to_numpy(intrinsics),
            export_feat_layers=tuple(export_feat_layers or ()),
            infer_gs=infer_gs,
            use_ray_pose=use_ray_pose,
            ref_view_strategy=ref_view_strategy,
        )
        return self._run(image, query)

    def _run(self, image: torch.Tensor, query: SceneQuery) -> Output:
        check_precision(DTYPES[self.dtype], image.device)
        with torch.no_grad():
            return self.model(image, query)

    def inference(
        self,
        image: Union[Photo, Sequence[Photo]],
        extrinsics: Optional[np.ndarray] = None,
        intrinsics: Optional[np.ndarray] = None,
        align_to_input_ext_scale: bool = True,
        infer_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = DEFAULT_STRATEGY,
        render_exts: Optional[np.ndarray] = None,
        render_ixts: Optional[np.ndarray] = None,
        render_hw: Optional[tuple[int, int]] = None,
        process_res: int = PROCESS_RES,
        process_res_method: str = "upper_bound_resize",
        export_dir: Optional[Union[str, Path]] = None,
        export_format: str = "mini_npz",
        export_feat_layers: Optional[Sequence[int]] = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int = 1_000_000,
        show_cameras: bool = True,
        feat_vis_fps: float = 15,
        export_kwargs: Optional[Mapping[str, Mapping[str, Any]]] = None,
        focal_px: Optional[float] = None,
    ) -> ScenePrediction:
        """Estimate the depth and the cameras of photos of one scene, and write them if asked.

        Args:
            image: N photos, or one: paths, or arrays and PIL images of any kind that
                ``runtime.photo.arrays`` takes. Files alone are turned upright by their EXIF.
            extrinsics: (N, 3 or 4, 4), world-to-camera; known cameras, given with intrinsics.
            intrinsics: (N, 3, 3), in pixels of the photos. For da3metric-large they may come alone.
            align_to_input_ext_scale, infer_gs, use_ray_pose, ref_view_strategy,
                export_feat_layers: see ``SceneQuery``.
            process_res, process_res_method: how photos become views; see ``runtime.scene.views``.
            export_dir, export_format, and all others: see ``export_request``.
            focal_px: focal length in pixels of the photos, for da3metric-large, and for clouds of
                models that find no cameras. By default the intrinsics', or that of the files' EXIF.
        Returns:
            the prediction; in metres (``is_metric``) for the nested model, and for da3metric-large
            if every photo's focal length is known, but never in given cameras' unit.
        Raises:
            InputError: a photo that cannot be read, arguments that do not go together, or a format
                that this model gives nothing for: said before it runs.
            OSError: files cannot be written.
        """
        asked = {name: value for name, value in locals().items() if name not in ("self", "image")}
        return self._infer(_listed(image), **asked)

    def _infer(
        self,
        given: Sequence[Photo],
        focal_px: Optional[float],
        process_res: int,
        process_res_method: str,
        extrinsics: Optional[np.ndarray],
        intrinsics: Optional[np.ndarray],
        export_feat_layers: Optional[Sequence[int]],
        align_to_input_ext_scale: bool,
        infer_gs: bool,
        use_ray_pose: bool,
        ref_view_strategy: str,
        **exports: Any,
    ) -> ScenePrediction:
        request = export_request(given, **exports)
        if request is not None:
            cameras = self.finds_cameras or extrinsics is not None
            request.check(len(given), cameras, infer_gs, bool(export_feat_layers))
        # a cloud of a model that finds no cameras needs a focal length, whatever its depth is
        for_cloud = request is not None and request.has_clouds and not self.finds_cameras
        by_focal = self.model_name == METRIC or for_cloud
        refuse_useless_focal(self.model_name, by_focal, focal_px is not None)
        check_camera_counts(len(given), extrinsics, intrinsics)
        alone = self.model_name == METRIC and extrinsics is None  # intrinsics tell metres there
        query = SceneQuery(
            extrinsics,
            None if alone else intrinsics,
            align_to_input_ext_scale=align_to_input_ext_scale,
            export_feat_layers=tuple(export_feat_layers or ()),
            infer_gs=infer_gs,
            use_ray_pose=use_ray_pose,
            ref_view_strategy=ref_view_strategy,
        )
        views = _views(given, process_res, process_res_method)
        return self.infer_views(views, given, query, intrinsics, focal_px, request)

    def infer_views(
        self,
        views: Sequence[View],
        photos: Sequence[Photo],
        query: SceneQuery,
        intrinsics: Optional[np.ndarray] = None,
        focal_px: Optional[float] = None,
        request: Optional[ExportRequest] = None,
    ) -> ScenePrediction:
        """``inference`` of views, for callers that do not keep the photos in memory.

        Args:
            views: all of one size; photos: what each is of, which tells its focal length.
            query: its cameras, and ``intrinsics`` (N, 3, 3), which may come alone for
                da3metric-large, in pixels of the photos.
            focal_px: as for ``inference``.
            request: what is written, checked already; None: nothing.
        """
        alone = self.model_name == METRIC and not query.has_cameras
        for_cloud = request is not None and request.has_clouds and not self.finds_cameras
        prediction, query = self._predict(views, query)
        focal = None
        if alone or for_cloud:
            in_views = view_intrinsics(views, intrinsics)
            focal = _focal_of_views(views, photos, in_views, focal_px)
        prediction = _in_metres(prediction, focal) if alone else align_to_given(prediction, query)
        if request is not None:
            said = focal_px is not None or intrinsics is not None
            known = replace(prediction, provenance=self.provenance)
            request.write(known, views, focal, said)
        return prediction

    @functools.cached_property
    def provenance(self) -> Optional[Provenance]:
        """Whose numbers these are; None if weights did not come by ``from_pretrained``."""
        if self.weights_file is None:
            return None
        digest, licence = sha256_of(self.weights_file), LICENCES[self.model_name]
        weights = WeightsSpec("checkpoint", digest, licence, self.weights_file.name)
        return Provenance(self.model_name, weights)

    @property
    def finds_cameras(self) -> bool:
        """Whether this model finds the cameras of its photos."""
        return self.model_name in NESTED or NETWORKS[self.model_name].any_view

    def _predict(
        self, views: Sequence[View], query: SceneQuery
    ) -> tuple[ScenePrediction, SceneQuery]:
        """What the network finds, and the query in pixels of the views."""
        query = query.in_pixels_of(views)
        device = next(self.parameters()).device
        tensor = torch.from_numpy(stack_views(views)[None]).to(device)
        return _prediction(self._run(tensor, query.normalised()), views), query


def _in_metres(prediction: ScenePrediction, focal: Optional[np.ndarray]) -> ScenePrediction:
    """The same in metres, if the intrinsics of the views (N, 3, 3) are known."""
    if focal is None:
        return prediction
    depth = metric_depth(prediction.depth, focal)
    return replace(prediction, depth=depth, intrinsics=focal, kind="depth_m")


def _prediction(output: Output, views: Sequence[View]) -> ScenePrediction:
    def array(name: str) -> Optional[np.ndarray]:
        return output[name][0].cpu().numpy() if name in output else None

    depth, sky = array("depth"), array("sky")
    assert depth is not None
    return ScenePrediction(
        depth=depth,
        kind="depth_m" if output.get("is_metric") else "depth",
        conf=array("depth_conf"),
        sky=None if sky is None else sky >= SKY_MASK,
        extrinsics=array("extrinsics"),
        intrinsics=array("intrinsics"),
        processed_images=np.stack([view.rgb for view in views]),
        gaussians=output.get("gaussians"),
        aux={name: tokens[0].cpu().numpy() for name, tokens in output["aux"].items()},
        scale_factor=output.get("scale_factor"),
    )


def _listed(image: Union[Photo, Sequence[Photo]]) -> list[Photo]:
    """Photos as a list; one that stands by itself is a list of one, not its letters or rows.

    Raises:
        InputError: no photo, or something else, as a file's bytes or a torch tensor.
    """
    alone = isinstance(image, (str, Path, Image.Image))
    if alone or (isinstance(image, np.ndarray) and image.ndim <= 3):
        return [cast(Photo, image)]
    if not isinstance(image, (Sequence, np.ndarray)) or isinstance(image, bytes):
        kind = type(image).__name__
        raise InputError(f"image is {kind}: give paths, RGB arrays (H, W, 3) or PIL images")
    if not len(image):
        raise InputError("image=[]: give one photo or more")
    return list(cast(Sequence[Photo], image))


def _views(given: Sequence[Photo], process_res: int, process_res_method: str) -> list[View]:
    photos = [_read(photo, index) for index, photo in enumerate(given)]
    return same_size([make_view(one, process_res, process_res_method) for one in photos])


def _read(photo: Photo, index: int) -> np.ndarray:
    return read_photo(photo) if isinstance(photo, (str, Path)) else as_rgb(photo, f"image[{index}]")


def _focal_of_views(
    views: Sequence[View],
    photos: Sequence[Photo],
    known: Optional[np.ndarray],
    focal_px: Optional[float],
) -> Optional[np.ndarray]:
    """Intrinsics of the views (N, 3, 3), if every photo's focal length is known."""
    if known is not None and focal_px is None:
        return known
    result = []
    for view, photo in zip(views, photos):
        focal = focal_of(focal_px, None, partial(_focal_of_exif, photo))
        if focal is None:
            return None
        height, width = view.photo_hw
        photos_own = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        result.append(view.intrinsics_of_view(photos_own))
    return np.stack(result)


def _focal_of_exif(photo: Photo) -> Optional[float]:
    return focal_px_of(photo) if isinstance(photo, (str, Path)) else None
