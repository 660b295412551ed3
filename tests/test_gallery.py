"""The gallery: upstream's folders, addresses and JSON, over HTTP and from the disk."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from browser import browsing, colours_in, outside
from PIL import Image
from served import get, problem

from apps.da3 import main
from apps.web.gallery_export import export_gallery
from apps.web.gallery_server import gallery_app, make_gallery_server
from exports.scene import scene_of
from exports.scene_files import asked_formats
from exports.write import write_scene
from runtime.errors import InputError
from runtime.predict.found import ScenePrediction
from runtime.scene.gaussians import Gaussians

HOSTILE = "<img src=x onerror=alert(1)>"
SIZE = (42, 56)


def write(folder: Path, formats: str = "glb", splats: bool = False, kind: str = "depth_m") -> None:
    """A wall with a ball of light before it, seen twice."""
    height, width = SIZE
    y, x = np.mgrid[0:height, 0:width]
    depth = np.stack([2 + 0.01 * x + np.where((x - 28) ** 2 + (y - 20) ** 2 < 90, -0.7, 0)] * 2)
    rgb = np.stack([np.stack([4 * x, 5 * y, 255 - 3 * x], -1).astype(np.uint8)] * 2)
    cameras = np.tile(np.eye(4)[:3], (2, 1, 1))
    cameras[1, 0, 3] = -0.3
    lens = np.tile([[60.0, 0, width / 2], [0, 60.0, height / 2], [0, 0, 1]], (2, 1, 1))
    found = ScenePrediction(
        depth=depth.astype(np.float32),
        kind=kind,
        conf=np.full_like(depth, 2, np.float32),
        extrinsics=cameras,
        intrinsics=lens,
        processed_images=rgb,
        gaussians=_splats(depth, rgb) if splats else None,
    )
    write_scene(scene_of(found), folder, asked_formats(formats, {"glb": {"camera_size": 0.05}}))


def _splats(depth, rgb):
    height, width = SIZE
    y, x = np.mgrid[0:height, 0:width]
    one = np.stack(
        [(x - width / 2) / 60 * depth[0], (y - height / 2) / 60 * depth[0], depth[0]], -1
    )
    means = np.stack([one, one]).reshape(1, -1, 3).astype(np.float32)
    count = means.shape[1]
    harmonics = np.zeros((1, count, 3, 9), np.float32)
    harmonics[0, :, :, 0] = (rgb.reshape(-1, 3) / 255 - 0.5) / 0.28209479
    turned = np.tile(np.array([0, 0, 0, 1], np.float32), (1, count, 1))
    sizes, seen = np.full((1, count, 3), 0.02, np.float32), np.full((1, count), 0.9, np.float32)
    return Gaussians(means, sizes, turned, harmonics, seen)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("gallery")
    write(root / "rooms" / "one", "glb-gs_ply", splats=True)
    write(root / "rooms" / "relative", kind="depth")
    write(root / "rooms" / HOSTILE)
    (root / "rooms" / HOSTILE / "scene.jpg").unlink()
    write(root / "alone")
    (root / "rooms" / "empty").mkdir()
    (root / "nothing" / "here").mkdir(parents=True)
    (root / "rooms" / "one" / "gs_video").mkdir()
    (root / "rooms" / "one" / "gs_video" / "0000.mp4").write_bytes(b"no video")
    secret = tmp_path_factory.mktemp("secret")
    write(secret / "scene")
    (root / "rooms" / "leads out").symlink_to(secret / "scene")
    (root / "rooms" / "one" / "secret.txt").symlink_to(secret / "scene" / "scene.json")
    return root


@pytest.fixture(scope="module")
def base(root):
    server = make_gallery_server(root, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_groups_and_scenes_are_those_that_have_something_to_show(base):
    status, headers, body = get(base, "/manifest.json")
    assert status == 200 and headers["Cache-Control"] == "no-store"
    assert json.loads(body) == {
        "groups": [{"id": ".", "title": "scenes"}, {"id": "rooms", "title": "rooms"}]
    }
    rooms = json.loads(get(base, "/manifest/rooms.json")[2])
    assert [item["id"] for item in rooms["items"]] == [HOSTILE, "one", "relative"]
    first, one, _ = rooms["items"]
    assert first["model"] == "/rooms/%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E/scene.glb"
    assert first["thumbnail"].endswith("depth_vis/0000.jpg")
    assert one["depth_images"] == [f"/rooms/one/depth_vis/000{n}.jpg" for n in (0, 1)]
    assert one["splats"] == ["/rooms/one/gs_ply/0000.ply"]
    assert one["videos"] == ["/rooms/one/gs_video/0000.mp4"]
    assert one["description"] == "/rooms/one/scene.json"
    for item in rooms["items"]:
        for address in (item["model"], item["thumbnail"], *item["depth_images"]):
            assert get(base, address)[0] == 200
    top = json.loads(get(base, "/manifest/..json")[2])
    assert [item["id"] for item in top["items"]] == ["alone"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/index.html", 200),
        ("/?group=rooms&id=one&page=2", 200),
        ("/favicon.ico", 204),
        ("/_viewers/points.js", 200),
        ("/_viewers/else.js", 404),
        ("/manifest/none.json", 200),
        ("/manifest/a/b.json", 400),
        ("/manifest/...json", 400),
        ("/manifest/.hidden.json", 400),
        ("/rooms/one/secret.txt", 403),
        ("/rooms/leads%20out/scene.glb", 403),
        ("/rooms/one", 404),
        ("/rooms/", 400),
        ("/rooms/none.glb", 404),
        ("/rooms/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/rooms\\one", 400),
        ("/rooms/%00", 400),
    ],
)
def test_an_address_is_a_page_a_file_or_a_refusal(path, status, base):
    answer = get(base, path)
    assert answer[0] == status, answer[2]
    if status >= 400:
        problem(answer)


def test_a_group_that_is_not_there_is_empty(base):
    assert json.loads(get(base, "/manifest/none.json")[2]) == {"group": "none", "items": []}


def test_a_file_comes_by_range_and_only_if_it_has_changed(base, root):
    model = (root / "alone" / "scene.glb").read_bytes()
    whole = get(base, "/alone/scene.glb")
    assert whole[2] == model and whole[1]["Content-Type"] == "model/gltf-binary"
    part = get(base, "/alone/scene.glb", {"Range": "bytes=4-11"})
    assert (part[0], part[2]) == (206, model[4:12])
    assert get(base, "/alone/scene.glb", {"If-None-Match": whole[1]["ETag"]})[0] == 304


def test_a_folder_that_is_not_there_is_bad_usage(tmp_path, capsys):
    assert main(["gallery", "--gallery-dir", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["gallery", "--gallery-dir", str(tmp_path), "--export", str(tmp_path / "a")]) == 1


def test_an_export_asks_for_nothing_but_what_lies_beside_it(root, tmp_path):
    files = set(export_gallery(root, tmp_path / "out"))
    names = {file.relative_to(tmp_path / "out").as_posix() for file in files}
    assert {"index.html", "alone/scene.glb", "alone/scene.glb.js", "_viewers/points.js"} <= names
    assert not any("secret" in name or "leads out" in name for name in names)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<img src=x" not in page and "http://" not in page and "https://" not in page
    with pytest.raises(InputError, match="lies in the gallery"):
        list(export_gallery(root, root / "out"))


def test_the_page_has_no_way_to_take_text_for_html():
    client = gallery_app(Path()).test_client()
    answer = client.get("/")
    for word in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert word not in answer.data
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def open_scene(page, name):
    page.click(f'.card:has(b:text-is("{name}"))')
    page.wait_for_selector("#dialog[open]")


def look_at(page):
    """What a person does: choose a scene, turn it, measure, and look at its pictures."""
    page.locator(".card", has_text="rooms").click()
    page.wait_for_selector(f'.card:has-text("{HOSTILE}")')
    open_scene(page, "one")
    page.wait_for_selector("#measured:has-text('points')")
    page.wait_for_timeout(500)
    assert colours_in(page, ".stage") > 500, "points are drawn"
    page.check("#measure")
    box = page.locator("canvas").bounding_box()
    for share in (0.45, 0.55):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(300)
    assert page.inner_text("#measured").endswith(" m")
    page.click("#tabs >> text=Depth")
    page.click(".depths button >> nth=1")
    page.wait_for_selector(".large img")
    page.keyboard.press("Escape")
    assert not page.is_visible(".large") and page.is_visible("#dialog")
    page.click("#tabs >> text=About")
    assert "metre" in page.inner_text("table")
    page.click("#tabs >> text=Splats")
    page.wait_for_selector("#measured:has-text('splats')")
    page.wait_for_timeout(3000)
    assert colours_in(page, ".stage") > 500, "splats are drawn"
    page.keyboard.press("Escape")
    open_scene(page, "relative")
    page.wait_for_selector("#measured:has-text('points')")
    page.check("#measure")
    for share in (0.45, 0.55):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
        page.wait_for_timeout(300)
    assert "not metric" in page.inner_text("#measured")
    page.go_back()
    assert not page.is_visible("#dialog")


def test_a_person_sees_scenes_over_http(base):
    with browsing() as page:
        page.goto(base)
        look_at(page)
        assert not outside(page, base) and not page.wrong


def test_splats_are_fetched_only_when_they_are_opened(base):
    with browsing() as page:
        page.goto(f"{base}/?group=rooms&id=one")
        page.wait_for_selector("#measured:has-text('points')")
        assert not [url for url in page.asked if "splats.js" in url or url.endswith(".ply")]
        page.click("#tabs >> text=Splats")
        page.wait_for_selector("#measured:has-text('splats')")
        assert [url for url in page.asked if "splats.js" in url]


@pytest.mark.parametrize("target", ["out", "page.html"])
def test_a_person_sees_scenes_from_the_disk_without_a_network(target, root, tmp_path):
    list(export_gallery(root, tmp_path / target))
    place = tmp_path / target
    page_file = place / "index.html" if place.is_dir() else place
    with browsing(offline=True) as page:
        page.goto(page_file.as_uri())
        if target == "page.html":
            page.click(".card:has-text('rooms')")
            page.wait_for_selector(".card img")
            page.go_back()
        look_at(page)
        assert not outside(page, "file://") and not page.wrong


def test_on_a_phone_nothing_is_wider_than_the_screen(base):
    with browsing(viewport={"width": 390, "height": 844}) as page:
        page.goto(f"{base}/?group=rooms")
        page.wait_for_selector(".card")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        open_scene(page, "one")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_pictures_in_upstreams_layout_without_a_description_are_shown(tmp_path):
    scene = tmp_path / "group" / "scene"
    write(scene)
    (scene / "scene.json").unlink()
    Image.new("RGB", (8, 8)).save(scene / "depth_vis" / "z.PNG")
    client = gallery_app(tmp_path).test_client()
    (item,) = client.get("/manifest/group.json").get_json()["items"]
    assert item["description"] is None and item["depth_images"][-1].endswith("z.PNG")
