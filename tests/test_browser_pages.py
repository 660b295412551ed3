"""The service's page and the backend's dashboard, as a person sees them in Chromium."""

import json

import pytest
from backend_process import backend
from browser import browsing, colours_in, outside
from served import ask, get
from tiny_scene import make_scene_artifact

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def photo(tmp_path, save_photo):
    return str(save_photo(tmp_path / f"{HOSTILE}.png", 60, 80))


def choose(page, photo):
    page.set_input_files("#file", photo)
    page.wait_for_selector("#pair:not([hidden])")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_photo_its_depth_and_a_relief_are_shown(scheme, tiny_served, photo):
    with browsing(color_scheme=scheme) as page:
        page.goto(tiny_served.base)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 21, 26)") == (scheme == "dark")
        choose(page, photo)
        assert page.inner_text("#name") == f"{HOSTILE}.png"
        assert "larger is nearer" in page.inner_text("#facts")
        assert not [url for url in page.asked if "points.js" in url], "only when it is asked for"
        page.click("#show3d")
        page.wait_for_selector("#handles:not([hidden])")
        page.wait_for_timeout(500)
        assert "knows no metres" in page.inner_text("#measured")
        assert not page.is_visible("#measures"), "nothing is measured without metres"
        assert colours_in(page, "#cloud") > 200
        before = page.locator("#cloud").screenshot()
        page.focus("#stage canvas")
        page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(300)
        assert page.locator("#cloud").screenshot() != before, "keys turn it"
        page.click("#show3d")
        assert not page.is_visible("#cloud")
        assert not outside(page, tiny_served.base) and not page.wrong


def test_points_in_metres_are_measured_in_metres(make_artifact, tmp_path, photo):
    from served import serving

    artifact = make_artifact(kind="depth_m", model="vits-indoor", root=tmp_path / "artifacts")
    with serving(artifact.path, DEPTH_FRONT="none") as served, browsing() as page:
        page.goto(served.base)
        choose(page, photo)
        page.click("#show3d")
        page.wait_for_selector("#measured:has-text('in metres')")
        page.check("#measure")
        box = page.locator("#stage canvas").bounding_box()
        for share in (0.45, 0.55):
            page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
            page.wait_for_timeout(300)
        assert " m between" in page.inner_text("#measured")


def test_a_model_of_scenes_shows_a_photos_depth_and_points_too(tmp_path, photo):
    models = make_scene_artifact(tmp_path / "artifacts", 3).path
    with backend(models, tmp_path, DEPTH_FRONT="none") as running, browsing() as page:
        page.goto(running.base)
        choose(page, photo)
        assert colours_in(page, "#depth") > 20
        page.click("#show3d")
        page.wait_for_selector("#measured:has-text('relative units')")
        assert not page.is_visible("#measures") and not page.wrong


def test_an_error_is_said_in_words_and_the_picture_before_it_stays(tiny_served, photo, tmp_path):
    (tmp_path / "notes.txt").write_text("no photo")
    with browsing() as page:
        page.goto(tiny_served.base)
        choose(page, photo)
        page.set_input_files("#file", str(tmp_path / "notes.txt"))
        page.wait_for_selector("#state:has-text('not an image')")
        assert page.is_visible("#pair")
        page.route("**/v1/depth*", lambda route: route.abort())
        page.set_input_files("#file", photo)
        page.wait_for_selector("#state:has-text('does not answer')")


def test_on_a_phone_nothing_is_wider_than_the_screen(tiny_served, photo):
    with browsing(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True) as page:
        page.goto(tiny_served.base)
        choose(page, photo)
        page.click("#show3d")
        page.wait_for_selector("#handles:not([hidden])")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_hostile_text_in_every_field_is_text_on_the_dashboard(tmp_path, save_photo):
    models = make_scene_artifact(tmp_path / "artifacts", 3).path
    save_photo(tmp_path / f"{HOSTILE}.png", 40, 60)
    asked = {
        "image_paths": [f"{HOSTILE}.png"],
        "export_dir": f"out/{HOSTILE}",
        "export_format": "npz",
    }
    with backend(models, tmp_path, DEPTH_TOKEN=HOSTILE, DEPTH_FRONT="none") as running:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {HOSTILE}"}
        sent = ask(running.base, "POST", "/inference", json.dumps(asked), headers)
        task_id = json.loads(sent[2])["task_id"]
        get(running.base, f"/task/{task_id}?wait=20", headers)
        with browsing() as page:
            page.goto(f"{running.base}/dashboard")
            page.wait_for_selector("#ask:not([hidden])")
            page.fill("#token", HOSTILE)
            page.click("#use")
            page.wait_for_selector(".task")
            text = page.inner_text(".task")
            assert text.count(HOSTILE) == 2 and "completed" in text
            assert page.locator("img").count() == 0
            with page.expect_download() as saved:
                page.click("button:has-text('Download')")
            assert saved.value.suggested_filename == f"{task_id}.zip"
            page.click("button:has-text('Forget') >> nth=-1")
            page.wait_for_selector("#ended:has-text('None yet')")
            assert not outside(page, running.base) and not page.wrong
