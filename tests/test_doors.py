"""The same artifact folder and the same photo, through every door: equal facts and equal depth."""

import base64
import dataclasses
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import ask, serving
from tiny_scene import make_scene_artifact

from apps import inference
from runtime.artifact.folder import MANIFEST, commit
from runtime.artifact.manifest import OutputSpec
from runtime.files import partial_folder
from runtime.photo.decode import focal_px_of, read_photo
from runtime.predict.choose import SCENE as SCENES
from runtime.predict.choose import choose
from runtime.predict.found import SEEDED
from runtime.predict.predictor import Predictor
from runtime.predict.scenes import ScenePredictor
from runtime.scene.known_points import points_of_rows, read_points
from serve.batch.__main__ import main as batch

EXIF_IFD, FOCAL_35_MM = 0x8769, 0xA405
FOCAL_PX = 40.0


@pytest.fixture
def photo(tmp_path, make_photo) -> Path:
    """A JPEG whose EXIF says 35 mm on film."""
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[FOCAL_35_MM] = 35
    file = tmp_path / "photo.jpg"
    Image.fromarray(make_photo(20, 30)).save(file, exif=exif, quality=95)
    return file


def through_main_job(root, photo, model, focal_px, tmp_path):
    words = ["--artifact", str(root), "--input", str(photo), "--output", str(tmp_path / "main")]
    words += ["--formats", "npz", "--model", model]
    words += ["--focal-px", str(focal_px)] if focal_px else []
    assert inference.main(words) == 0
    return npz((tmp_path / "main" / "photo.jpg.npz").read_bytes())


def through_batch(root, photo, model, focal_px, tmp_path):
    words = ["run", "--artifact", str(root), "--input", str(photo), "--model", model]
    words += ["--output", str(tmp_path / "batch"), "--formats", "npz"]
    words += ["--focal-px", str(focal_px)] if focal_px else []
    assert batch(words) == 0
    return npz((tmp_path / "batch" / "photo.jpg.npz").read_bytes())


def through_service(root, photo, model, focal_px, tmp_path):
    with serving(root, DEPTH_MODEL=model) as served:
        query = f"?focal_px={focal_px}" if focal_px else ""
        headers = {"Content-Type": "image/jpeg", "Accept": "application/x-npz"}
        path = f"/v1/depth{query}"
        status, _, body = ask(served.base, "POST", path, photo.read_bytes(), headers)
    assert status == 200, body
    facts, depth = npz(body)
    return {key: facts[key] for key in facts if key not in ("request_id", "seconds")}, depth


def through_python(root, photo, model, focal_px, tmp_path):
    predictor = Predictor(choose([root], model).artifacts)
    prediction = predictor(read_photo(photo), predictor.focal_px(focal_px, photo))
    return json.loads(json.dumps(prediction.facts())), prediction.depth


DOORS = (through_main_job, through_batch, through_service, through_python)


def npz(data):
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["meta"]))
        return facts, arrays[facts["kind"]]


def crowded(make_artifact, root):
    """Real float32 beside all that is left out: other models, precisions, batches, a wreck."""
    make_artifact(root=root)
    make_artifact(root=root, size_hw=(28, 42))
    make_artifact(root=root, batch=4, shift=1.0)
    make_artifact(root=root, precision="bf16", size_hw=(42, 28), shift=2.0)
    make_artifact(root=root, size_hw=(28, 56), shift=3.0, seeded=True)
    make_artifact(root=root, model="vitb", shift=4.0)
    (root / "old").mkdir()
    (root / "old" / MANIFEST).write_text('{"schema_version": 2}')


def random_weights(make_artifact, root):
    make_artifact(root=root, seeded=True)


def in_metres(make_artifact, root):
    make_artifact(root=root, kind="depth_m")


def metres_by_focal(make_artifact, root):
    plain = make_artifact(kind="depth")
    manifest = dataclasses.replace(plain.manifest, output=OutputSpec("depth", None, 300.0))
    with partial_folder(root) as folder:
        shutil.copy(plain.path / "graph.pt", folder)
        commit(folder, manifest, root)


@pytest.mark.parametrize(
    ("make", "focal_px", "expected"),
    [
        (crowded, None, {"kind": "disparity", "artifact": "vits-28x42-b1-torchscript"}),
        (random_weights, None, {"kind": "disparity", "warning": SEEDED}),
        (in_metres, None, {"kind": "depth_m", "unit": "metre", "max_depth_m": 20.0}),
        (metres_by_focal, FOCAL_PX, {"kind": "depth_m", "focal_px": FOCAL_PX}),
        (metres_by_focal, None, {"kind": "depth_m", "focal_px": "exif"}),
    ],
    ids=["crowded", "random", "metric", "focal-given", "focal-of-exif"],
)
def test_every_door_says_the_same_of_the_same_photo(
    make, focal_px, expected, make_artifact, photo, tmp_path
):
    root = tmp_path / "artifacts"
    make(make_artifact, root)
    answers = [door(root, photo, "vits", focal_px, tmp_path) for door in DOORS]
    facts, depth = answers[0]
    assert depth.shape == (20, 30)
    if expected.get("focal_px") == "exif":
        expected = {**expected, "focal_px": focal_px_of(photo)}
    said = {**facts, "artifact": facts["artifact"]["name"]}
    assert {key: said[key] for key in expected} == expected
    for other_facts, other_depth in answers[1:]:
        assert other_facts == facts
        np.testing.assert_array_equal(other_depth, depth)


def test_every_door_refuses_a_focal_length_that_does_nothing(
    tiny_artifact, photo, tmp_path, capsys
):
    root = tiny_artifact.path
    words = ["--artifact", str(root), "--input", str(photo), "--output", str(tmp_path / "out")]
    for command in (inference.main, lambda words: batch(["run", *words])):
        assert command([*words, "--focal-px", "40"]) in (1, 2)
        assert "the depth of vits does not depend on it" in capsys.readouterr().err
    with serving(root) as served:
        status, _, body = ask(
            served.base,
            "POST",
            "/v1/depth?focal_px=40",
            photo.read_bytes(),
            {"Content-Type": "image/jpeg"},
        )
    assert status in (400, 422) and b"does not depend on it" in body
    with pytest.raises(ValueError, match="does not depend on it"):
        Predictor([tiny_artifact])(read_photo(photo), 40.0)


def test_a_tables_column_of_focal_lengths_is_used_or_left_with_a_warning(
    make_artifact, photo, tmp_path, caplog
):
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbfpath,focal_px\r\nphoto.jpg,40\r\n")
    for make, focal_px, warned in ((crowded, None, True), (metres_by_focal, FOCAL_PX, False)):
        root, output = tmp_path / f"artifacts-{warned}", tmp_path / f"out-{warned}"
        make(make_artifact, root)
        words = ["--artifact", str(root), "--model", "vits", "--output", str(output)]
        caplog.clear()
        assert batch(["run", "--input", str(tmp_path / "table.csv"), *words]) == 0
        facts = json.loads((output / "photo.jpg.json").read_text())
        assert facts["focal_px"] == focal_px
        assert ("focal_px of 1 rows does nothing" in caplog.text) == warned


def test_every_door_fits_the_same_metres_to_the_same_points(make_artifact, photo, tmp_path):
    root = tmp_path / "artifacts"
    make_artifact(root=root)
    predictor = Predictor(choose([root], "vits").artifacts)
    plain = predictor(read_photo(photo)).depth
    places = [(2, 3), (25, 12), (9.5, 18), (14, 7.25), (28, 1)]
    rows = [[x, y, float(1 / (0.3 * plain[int(y), int(x)] + 0.1))] for x, y in places]
    rows[4][2] *= 5  # a wrong one
    known = tmp_path / "known.csv"
    known.write_text("x,y,metres\n" + "".join(f"{x},{y},{metres!r}\n" for x, y, metres in rows))

    answers = []
    prediction = predictor(read_photo(photo), points=read_points(known))
    answers.append((json.loads(json.dumps(prediction.facts())), prediction.depth))

    words = ["--artifact", str(root), "--input", str(photo), "--output", str(tmp_path / "main")]
    assert inference.main([*words, "--formats", "npz", "--fit-points", str(known)]) == 0
    answers.append(npz((tmp_path / "main" / "photo.jpg.npz").read_bytes()))

    rows_of_photos = [
        {"path": str(photo), "name": "inline.jpg", "points": rows},
        {"path": str(photo), "name": "file.jpg", "points": "known.csv"},
    ]
    manifest = tmp_path / "photos.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows_of_photos)))
    words = ["run", "--artifact", str(root), "--input", str(manifest), "--formats", "npz"]
    assert batch([*words, "--output", str(tmp_path / "batch")]) == 0
    for name in ("inline.jpg", "file.jpg"):
        answers.append(npz((tmp_path / "batch" / f"{name}.npz").read_bytes()))

    image = base64.b64encode(photo.read_bytes()).decode()
    headers = {"Content-Type": "application/json", "Accept": "application/x-npz"}
    with serving(root) as served:
        for size in ("input", "model"):
            body = json.dumps({"image": image, "points": rows, "size": size})
            status, _, body = ask(served.base, "POST", "/v1/depth", body, headers)
            assert status == 200, body
            answers.append(npz(body))
    on_model, _ = answers.pop()

    facts, depth = answers[0]
    assert (facts["kind"], facts["unit"]) == ("depth_m", "metre")
    assert (facts["metres_by"]["points"], facts["metres_by"]["used"]) == (5, 4)
    for said, other in answers[1:]:
        assert {key: said[key] for key in facts} == facts
        np.testing.assert_array_equal(other, depth)
    assert on_model["metres_by"]["scale"] == facts["metres_by"]["scale"]


def test_every_door_refuses_points_that_contradict_each_other(
    tiny_artifact, tiny_served, photo, tmp_path, capsys
):
    root, rows = tiny_artifact.path, [[1, 1, 1.0], [2, 9, 2.0], [40, 1, 3.0]]
    known, manifest = tmp_path / "known.csv", tmp_path / "photos.jsonl"
    known.write_text("".join(f"{x},{y},{metres}\n" for x, y, metres in rows))
    said = "x 40, y 1, outside of the upright photo of 30 x 20 pixels"
    words = ["--artifact", str(root), "--output", str(tmp_path / "out")]
    assert inference.main([*words, "--input", str(photo), "--fit-points", str(known)]) == 1
    assert said in capsys.readouterr().err
    manifest.write_text(json.dumps({"path": str(photo), "points": rows}))
    words[-1] = str(tmp_path / "batch")
    batch(["run", *words, "--input", str(manifest), "--max-error-rate", "1"])
    capsys.readouterr()
    batch(["status", "--output", words[-1]])
    assert json.loads(capsys.readouterr().out)["error"] == 1
    manifest.write_text(json.dumps({"path": str(photo), "points": rows[:1]}))
    words[-1] = str(tmp_path / "other")
    assert batch(["run", *words, "--input", str(manifest)]) == 1
    assert "photos.jsonl, line 1: points: 1 given, expected at least two" in capsys.readouterr().err
    image = base64.b64encode(photo.read_bytes()).decode()
    headers = {"Content-Type": "application/json"}
    for body, match in (
        ({"image": image, "points": rows}, said),
        ({"image": image, "points": rows[:1]}, "at least two"),
        ({"image": image, "points": "text"}, "no list of [x, y, metres]"),
        ({"images": [image, image], "points": rows}, "points: of one photo; send it alone"),
    ):
        status, _, answer = ask(tiny_served.base, "POST", "/v1/depth", json.dumps(body), headers)
        assert status == 400 and match in json.loads(answer)["detail"]
    with pytest.raises(ValueError, match="outside of the upright photo"):
        Predictor([tiny_artifact])(read_photo(photo), points=read_points(known))


def test_points_come_in_json_in_a_form_and_in_an_archive(tiny_artifact, tiny_served, photo):
    rgb = read_photo(photo)
    plain = Predictor([tiny_artifact])(rgb).depth
    rows = [[x, y, float(1 / (0.3 * plain[y, x] + 0.1))] for x, y in ((2, 3), (25, 12), (9, 18))]
    archive = io.BytesIO()
    np.savez(archive, image=rgb, points=np.array(rows))
    json_body = {"image": base64.b64encode(photo.read_bytes()).decode(), "points": rows}
    mark = "a-mark"
    form = (
        f'--{mark}\r\nContent-Disposition: form-data; name="points"\r\n\r\n{json.dumps(rows)}\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + photo.read_bytes()
    form += f"\r\n--{mark}--\r\n".encode()
    expected = Predictor([tiny_artifact])(rgb, points=points_of_rows(rows)).depth
    for kind, body in (
        ("application/json", json.dumps(json_body)),
        ("application/x-npz", archive.getvalue()),
        (f"multipart/form-data; boundary={mark}", form),
    ):
        headers = {"Content-Type": kind, "Accept": "application/x-npz"}
        status, _, answer = ask(tiny_served.base, "POST", "/v1/depth", body, headers)
        assert status == 200, answer
        facts, depth = npz(answer)
        assert facts["metres_by"]["used"] == 3
        np.testing.assert_array_equal(depth, expected)


OF_A_SCENE = ("kind", "unit", "model", "artifact", "weights", "licence", "warning")


@pytest.mark.parametrize(("count", "views"), [(2, 2), (3, 4), (4, 4)])
def test_every_door_says_the_same_of_the_same_scene(count, views, make_photo, tmp_path):
    root = tmp_path / "artifacts"
    for compiled in (1, 2, 4):
        make_scene_artifact(root, compiled, seeded=True)
    files = [tmp_path / "room" / f"{number}.png" for number in range(count)]
    files[0].parent.mkdir()
    for seed, file in enumerate(files):
        Image.fromarray(make_photo(30, 40, seed)).save(file)

    words = ["--artifact", str(root), "--input", str(tmp_path / "room"), "--views", "all"]
    assert inference.main([*words, "--output", str(tmp_path / "out"), "--formats", "npz"]) == 0
    cameras = json.loads((tmp_path / "out" / "cameras.json").read_text())
    maps = [npz((tmp_path / "out" / f"{file.name}.npz").read_bytes()) for file in files]

    images = [base64.b64encode(file.read_bytes()).decode() for file in files]
    headers = {"Content-Type": "application/json", "Accept": "application/x-npz"}
    with serving(root) as served:
        body = json.dumps({"images": images, "size": "input"})
        status, _, body = ask(served.base, "POST", "/v1/depth", body, headers)
    assert status == 200, body
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        answer, sent = json.loads(str(arrays["meta"])), dict(arrays)

    python = ScenePredictor(choose([root], use=SCENES).artifacts)
    scene = python([read_photo(file) for file in files])
    facts = json.loads(json.dumps(scene.facts()))
    assert facts["artifact"]["name"] == f"da3-small-28x42-v{views}-torchscript"
    assert facts["warning"] == SEEDED
    for other in (answer, cameras, *(meta for meta, _ in maps)):
        assert {key: other[key] for key in OF_A_SCENE} == {key: facts[key] for key in OF_A_SCENE}
    for index, (_, depth) in enumerate(maps):
        np.testing.assert_array_equal(sent[f"depth_{index}"], depth)
        np.testing.assert_array_equal(scene.photo(index, (30, 40)).depth, depth)
        camera = cameras["photos"][index]
        np.testing.assert_allclose(sent["intrinsics"][index], camera["intrinsics"])
        np.testing.assert_allclose(sent["extrinsics"][index], camera["world_to_camera"])


def test_of_several_sizes_every_door_takes_the_one_of_most_photos(make_photo, tmp_path):
    root, room = tmp_path / "artifacts", tmp_path / "room"
    for size_hw in ((28, 42), (42, 28)):
        make_scene_artifact(root, 2, size_hw)
    room.mkdir()
    shapes_hw = ((40, 30), (30, 40), (30, 44))  # the first is upright, the others are not
    for number, (height, width) in enumerate(shapes_hw):
        Image.fromarray(make_photo(height, width, number)).save(room / f"{number}.png")

    words = ["--artifact", str(root), "--input", str(room), "--views", "all", "--formats", "npz"]
    assert inference.main([*words, "--output", str(tmp_path / "out")]) == 0
    of_main_job = json.loads((tmp_path / "out" / "cameras.json").read_text())["artifact"]

    images = [base64.b64encode(file.read_bytes()).decode() for file in sorted(room.iterdir())]
    with serving(root) as served:
        headers = {"Content-Type": "application/json", "Accept": "application/x-npz"}
        body = json.dumps({"images": images})
        status, _, body = ask(served.base, "POST", "/v1/depth", body, headers)
    assert status == 200, body
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        of_service = json.loads(str(arrays["meta"]))["artifact"]

    of_python = choose([root], use=SCENES).of_one_size(shapes_hw)
    assert [str(one).split(": ")[1] for one in of_python.left_out] == [
        "another size is nearer to the shape of most photos"
    ]
    (artifact,) = of_python.artifacts
    assert artifact.manifest.input.size_hw == (28, 42)
    assert of_main_job == of_service
    assert of_main_job["name"] == artifact.manifest.name
