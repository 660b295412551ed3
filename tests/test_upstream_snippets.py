"""Every Python snippet of upstream's README and API document, word for word."""

import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from scene_recipe import features
from test_scene_api import Stub

import depth_anything_3
import depth_anything_3.api
from depth_anything_3.specs import Prediction
from runtime.scene.views import make_view

LOAD = """
from depth_anything_3.api import DepthAnything3

# Initialize and run inference
model = DepthAnything3.from_pretrained("depth-anything/DA3NESTED-GIANT-LARGE").to("cuda")
prediction = model.inference(["image1.jpg", "image2.jpg"])
"""
README = """
import glob, os, torch
from depth_anything_3.api import DepthAnything3
device = torch.device("cuda")
model = DepthAnything3.from_pretrained("depth-anything/DA3NESTED-GIANT-LARGE")
model = model.to(device=device)
example_path = "assets/examples/SOH"
images = sorted(glob.glob(os.path.join(example_path, "*.png")))
prediction = model.inference(
    images,
)
# prediction.processed_images : [N, H, W, 3] uint8   array
print(prediction.processed_images.shape)
# prediction.depth            : [N, H, W]    float32 array
print(prediction.depth.shape)
# prediction.conf             : [N, H, W]    float32 array
print(prediction.conf.shape)
# prediction.extrinsics       : [N, 3, 4]    float32 array # opencv w2c or colmap format
print(prediction.extrinsics.shape)
# prediction.intrinsics       : [N, 3, 3]    float32 array
print(prediction.intrinsics.shape)
"""
POSED = """
import numpy as np

# With camera parameters for better consistency
prediction = model.inference(
    image=["image1.jpg", "image2.jpg"],
    extrinsics=extrinsics_array,  # (N, 4, 4)
    intrinsics=intrinsics_array   # (N, 3, 3)
)
"""
EXPORT = """
# Export depth data and 3D visualization
prediction = model.inference(
    image=image_paths,
    export_dir="./output",
    export_format="mini_npz-glb"
)
"""
FEATURES = """
# Export intermediate features from specific layers
prediction = model.inference(
    image=image_paths,
    export_dir="./output",
    export_format="feat_vis",
    export_feat_layers=[0, 1, 2]  # Export features from layers 0, 1, 2
)
"""
SPLATS = """
# Export multiple formats including Gaussian Splatting
# Note: infer_gs=True requires da3-giant or da3nested-giant-large model
model = DepthAnything3(model_name="da3-giant").to("cuda")

prediction = model.inference(
    image=image_paths,
    extrinsics=extrinsics_array,
    intrinsics=intrinsics_array,
    export_dir="./output",
    export_format="npz-glb-gs_ply-gs_video",
    align_to_input_ext_scale=True,
    infer_gs=True,  # Required for gs_ply and gs_video exports
)
"""
MORE_FEATURES = """
# Export with intermediate feature visualization
prediction = model.inference(
    image=image_paths,
    export_dir="./output",
    export_format="mini_npz-glb-depth_vis-feat_vis",
    export_feat_layers=[0, 5, 10, 15, 20],
    feat_vis_fps=30,
)
"""
RAYS = """
# Use ray-based pose estimation instead of camera decoder
prediction = model.inference(
    image=image_paths,
    export_dir="./output",
    export_format="glb",
    use_ray_pose=True,  # Enable ray-based pose estimation
)
"""
REFERENCE = """
# For multi-view inputs, automatically select the best reference view
prediction = model.inference(
    image=image_paths,
    ref_view_strategy="saddle_balanced",  # Default: balanced selection
)

# For video sequences, use middle frame as reference
prediction = model.inference(
    image=video_frames,
    ref_view_strategy="middle",  # Good for temporally ordered inputs
)
"""
NAMED = """
from depth_anything_3.api import DepthAnything3

# Initialize the model with a model name
model = DepthAnything3(model_name="da3-large")
model = model.to("cuda")  # Move to GPU
"""
SIGNATURE = """
prediction = model.inference(
    image=image_list,
    extrinsics=extrinsics_array,      # Optional
    intrinsics=intrinsics_array,      # Optional
    align_to_input_ext_scale=True,   # Whether to align predicted poses to input scale
    infer_gs=True,                   # Enable Gaussian branch for gs exports
    use_ray_pose=False,              # Use ray-based pose estimation instead of camera decoder
    ref_view_strategy="saddle_balanced",  # Reference view selection strategy
    render_exts=render_extrinsics,    # Optional renders for gs_video
    render_ixts=render_intrinsics,    # Optional renders for gs_video
    render_hw=(height, width),        # Optional renders for gs_video
    process_res=504,
    process_res_method="upper_bound_resize",
    export_dir="output_directory",    # Optional
    export_format="mini_npz",
    export_feat_layers=[],            # List of layer indices to export features from
    conf_thresh_percentile=40.0,      # Confidence threshold percentile for depth map in GLB export
    num_max_points=1_000_000,         # Maximum number of points to export in GLB export
    show_cameras=True,                # Whether to show cameras in GLB export
    feat_vis_fps=15,                  # Frames per second for feature visualization
    export_kwargs={}                  # Optional, additional arguments to export functions.
)
"""
INPUTS = """
# From file paths
image = ["image1.jpg", "image2.jpg", "image3.jpg"]
model.inference(image)

# From numpy arrays
image = [np.array(img1), np.array(img2)]
model.inference(image)

# From PIL Images
image = [Image.open("image1.jpg"), Image.open("image2.jpg")]
model.inference(image)
"""
RESULT = """
prediction = model.inference(image=["img1.jpg", "img2.jpg"])

# Access depth maps
depth_maps = prediction.depth  # shape: (2, H, W)

# Access confidence
if hasattr(prediction, 'conf'):
    confidence = prediction.conf

# Access camera parameters (if available)
if hasattr(prediction, 'extrinsics'):
    camera_poses = prediction.extrinsics  # shape: (2, 4, 4)

if hasattr(prediction, 'intrinsics'):
    camera_intrinsics = prediction.intrinsics  # shape: (2, 3, 3)

# Access intermediate features (if export_feat_layers was set)
if hasattr(prediction, 'aux') and 'feat_layer_0' in prediction.aux:
    features = prediction.aux['feat_layer_0']
"""
KWARGS = """
prediction = model.inference(
    image=image_paths,
    infer_gs=True,
    export_dir="./output",
    export_format="gs_ply",
    export_kwargs={
        "gs_ply": {
            "gs_views_interval": 1,
        },
        "gs_video": {
            "trj_mode": "interpolate_smooth",
            "chunk_size": 1,
            "vis_depth": None,
        },
    },
)
"""
FILES = {
    "mini_npz": "exports/mini_npz/results.npz",
    "npz": "exports/npz/results.npz",
    "glb": "scene.glb",
    "gs_ply": "gs_ply/0000.ply",
    "gs_video": "gs_video",
    "depth_vis": "depth_vis/0000.jpg",
    "feat_vis": "feat_vis/feat_layer_0/000000.jpg",
}


class Answers(Stub):
    """A synthetic answer in place of a network of 5 GB, on no device."""

    made: "list[str]" = []  # noqa: RUF012

    @classmethod
    def from_pretrained(cls, source):
        return cls(source.rpartition("/")[2].lower())

    def to(self, device):
        self.made.append(str(device))
        return self

    def _run(self, image, query):
        output = super()._run(image, query)
        _, n, _, h, w = image.shape
        for layer in query.export_feat_layers:
            tokens = features(n, h // 14, w // 14, 8, layer)
            output["aux"][f"feat_layer_{layer}"] = torch.from_numpy(tokens[None])
        return output


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the snippets name, and the names that they take as given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(depth_anything_3.api, "DepthAnything3", Answers)
    small = lambda photo, res, method: make_view(photo, res // 6, method)  # noqa: E731
    monkeypatch.setattr(depth_anything_3.api, "make_view", small)
    (tmp_path / "assets/examples/SOH").mkdir(parents=True)
    names = [f"image{at}.jpg" for at in (1, 2, 3)] + ["img1.jpg", "img2.jpg"]
    names += [f"assets/examples/SOH/{at}.png" for at in range(2)]
    for at, name in enumerate(names):
        Image.new("RGB", (112, 84), (40 * at, 90, 200)).save(name)
    pose = np.stack([np.eye(4), np.eye(4)])
    pose[1, :3, 3] = 0.5, 0.1, 0
    lens = np.array([[90, 0, 56], [0, 90, 42], [0, 0, 1.0]])
    photos = [np.array(Image.open(name)) for name in names[:2]]
    return {
        "np": np,
        "Image": Image,
        "DepthAnything3": Answers,
        "model": Answers("da3-giant"),
        "image_paths": names[:2],
        "image_list": names[:2],
        "video_frames": photos,
        "img1": photos[0],
        "img2": photos[1],
        "extrinsics_array": pose,
        "intrinsics_array": np.stack([lens, lens]),
        "render_extrinsics": pose,
        "render_intrinsics": np.stack([lens, lens]),
        "height": 84,
        "width": 112,
    }


@pytest.mark.parametrize(
    ("snippet", "written"),
    [
        pytest.param(LOAD, "", id="basic"),
        pytest.param(README, "", id="readme"),
        pytest.param(POSED, "", id="posed"),
        pytest.param(EXPORT, "mini_npz-glb", id="export"),
        pytest.param(FEATURES, "feat_vis", id="features"),
        pytest.param(SPLATS.replace("-gs_video", ""), "npz-glb-gs_ply", id="splats"),
        pytest.param(MORE_FEATURES, "mini_npz-glb-depth_vis-feat_vis", id="more features"),
        pytest.param(RAYS, "glb", id="rays"),
        pytest.param(REFERENCE, "", id="reference"),
        pytest.param(NAMED, "", id="named"),
        pytest.param(SIGNATURE, "mini_npz", id="signature"),
        pytest.param(INPUTS, "", id="inputs"),
        pytest.param(RESULT, "", id="result"),
        pytest.param(KWARGS, "gs_ply", id="options"),
    ],
)
def test_a_snippet_runs_word_for_word(snippet, written, place, tmp_path):
    exec(compile(textwrap.dedent(snippet), "upstream", "exec"), place)
    if "prediction" in place:
        found = place["prediction"]
        assert isinstance(found, Prediction) and found.depth.ndim == 3
        assert found.extrinsics.shape == (2, 3, 4) and found.conf.shape == found.depth.shape
    folder = tmp_path / ("output_directory" if snippet is SIGNATURE else "output")
    assert folder.exists() == bool(written)
    for name in filter(None, written.split("-")):
        assert (folder / FILES[name]).exists(), name


def test_the_snippet_with_a_video_of_splats_runs(place, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed")
    exec(compile(SPLATS, "upstream", "exec"), place)
    assert (tmp_path / "output/gs_video/0000_extend.mp4").exists()


def test_cameras_of_a_video_that_nobody_asked_for_are_said_to_do_nothing(place, caplog):
    exec(compile(SIGNATURE, "upstream", "exec"), place)
    assert "render_exts, render_ixts, render_hw: cameras of gs_video" in caplog.text


def test_the_package_itself_has_the_class():
    assert depth_anything_3.DepthAnything3 is depth_anything_3.api.DepthAnything3
