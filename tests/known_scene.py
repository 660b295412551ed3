"""One scene whose cameras are known, written in every format that ``da3 --cameras`` reads.

Made here by hand from each format's own description, not by the code under test.
"""

import json
import math
import struct

import numpy as np

SIZE_HW = (120, 160)
FOCAL = (150.0, 140.0)
AXIS = (81.0, 58.0)  # the principal point, from the corner
NAMES = ("000000.png", "000001.png", "000002.png")
POINT = np.array([0.3, -0.2, 4.0])  # in front of all of them
K = np.array([[FOCAL[0], 0, AXIS[0]], [0, FOCAL[1], AXIS[1]], [0, 0, 1.0]])


def turn_about(axis, angle):
    """A rotation by Rodrigues' formula, and its quaternion w x y z."""
    axis = np.array(axis, float) / np.linalg.norm(axis)
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return matrix, np.array([math.cos(angle / 2), *(math.sin(angle / 2) * axis)])


# Each camera's place in the world and how it is turned there: camera-to-world, x right, y down,
# z forward; none of the turns is its own inverse
TURNS = [turn_about((0.2, 1, 0.1), angle) for angle in (0.1, -0.25, 0.4)]
PLACES = np.array([[0.0, 0.1, -0.2], [0.8, -0.1, 0.1], [-0.9, 0.3, 0.4]])


def to_world(index):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURNS[index][0], PLACES[index]
    return pose


def world_to_camera():
    """(3, 4, 4)."""
    return np.stack([np.linalg.inv(to_world(index)) for index in range(len(NAMES))])


def pixel(extrinsics, intrinsics):
    """Where a camera sees the point."""
    local = extrinsics[:3, :3] @ POINT + extrinsics[:3, 3]
    assert local[2] > 0
    place = intrinsics @ local
    return place[:2] / place[2]


def conjugate(quaternion):
    return quaternion * (1, -1, -1, -1)


def colmap_rows():
    """Of each image: quaternion w x y z and translation, world-to-camera, and its name."""
    for index, name in enumerate(NAMES):
        quaternion = conjugate(TURNS[index][1])
        yield quaternion, world_to_camera()[index][:3, 3], name


def write_colmap_text(folder, model="PINHOLE", params=(*FOCAL, *AXIS), size_hw=SIZE_HW):
    folder.mkdir(parents=True, exist_ok=True)
    numbers = " ".join(map(str, params))
    text = f"# Camera list\n7 {model} {size_hw[1]} {size_hw[0]} {numbers}\n"
    (folder / "cameras.txt").write_text(text)
    lines = ["# Image list"]
    for at, (q, t, name) in reversed(list(enumerate(colmap_rows(), start=1))):
        lines += [f"{at} {' '.join(map(repr, [*q.tolist(), *t.tolist()]))} 7 {name}"]
        lines += ["1.5 2.5 -1 3.5 4.5 12" if at % 2 else ""]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    return folder


def write_colmap_binary(folder, model=1, params=(*FOCAL, *AXIS), size_hw=SIZE_HW):
    folder.mkdir(parents=True, exist_ok=True)
    camera = struct.pack("<QIiQQ", 1, 7, model, size_hw[1], size_hw[0])
    (folder / "cameras.bin").write_bytes(camera + struct.pack(f"<{len(params)}d", *params))
    data = struct.pack("<Q", len(NAMES))
    for at, (q, t, name) in reversed(list(enumerate(colmap_rows(), start=1))):
        data += struct.pack("<I7dI", at, *q, *t, 7) + name.encode() + b"\0"
        data += struct.pack("<Q", at) + struct.pack("<ddq", 1.5, 2.5, -1) * at
    (folder / "images.bin").write_bytes(data)
    return folder


def write_transforms(file, **more):
    """Camera-to-world, x right, y up, z back."""
    frames = []
    for index, name in enumerate(NAMES):
        pose = to_world(index)
        pose[:, 1:3] *= -1
        frames.append({"file_path": f"./images/{name}", "transform_matrix": pose.tolist()})
    facts = {"w": SIZE_HW[1], "h": SIZE_HW[0], "fl_x": FOCAL[0], "fl_y": FOCAL[1]}
    facts.update({"cx": AXIS[0], "cy": AXIS[1], "k1": 0.0, "camera_model": "OPENCV"})
    file.write_text(json.dumps({**facts, **more, "frames": frames}))
    return file


def write_tum(file, times=(0, 1, 2)):
    lines = ["# timestamp tx ty tz qx qy qz qw"]
    for index, time in enumerate(times):
        w, x, y, z = TURNS[index][1]
        lines.append(" ".join(map(repr, [float(time), *PLACES[index].tolist(), x, y, z, w])))
    file.write_text("\n".join(lines).replace("np.float64(", "").replace(")", ""))
    return file


def write_kitti(file):
    file.write_text(
        "\n".join(
            " ".join(repr(float(value)) for value in to_world(index)[:3].ravel())
            for index in range(len(NAMES))
        )
    )
    return file


def write_cameras_json(file):
    photos = [
        {
            "name": name,
            "size": {"height": SIZE_HW[0], "width": SIZE_HW[1]},
            "intrinsics": K.tolist(),
            "world_to_camera": pose[:3].tolist(),
        }
        for name, pose in zip(NAMES, world_to_camera())
    ]
    file.write_text(json.dumps({"photos": photos}))
    return file


WRITERS = {
    "colmap-text": lambda root: write_colmap_text(root / "text"),
    "colmap-binary": lambda root: write_colmap_binary(root / "binary"),
    "transforms": lambda root: write_transforms(root / "transforms.json"),
    "tum": lambda root: write_tum(root / "groundtruth.txt"),
    "kitti": lambda root: write_kitti(root / "poses.txt"),
    "cameras-json": lambda root: write_cameras_json(root / "cameras.json"),
}
