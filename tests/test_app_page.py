"""The app's page as a person uses it: Gradio's server, and Chromium before it."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from backend_process import backend
from browser import browsing, outside
from clips import make_clip
from known_scene import SIZE_HW
from served import ROOT
from tiny_scene import make_scene_artifact

pytestmark = pytest.mark.skipif(
    find_spec("gradio") is None, reason="Gradio is not installed (extra app): no app is started"
)

SCENE_HW = (280, 420)
START_S = 60


@contextmanager
def app(here, server):
    """``da3 gradio`` as a client of a server; gives its address."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    words = ["gradio", "--server", server, "--port", str(port)]
    with (here / "app.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "apps.da3", *words],
            cwd=here,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + START_S
        while time.monotonic() < end and process.poll() is None:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_person_finds_a_scene_looks_at_it_measures_and_keeps_it(tmp_path, save_photo):
    models = make_scene_artifact(tmp_path / "artifacts", 3, SCENE_HW).path
    photos = [save_photo(tmp_path / f"{n}.png", *SIZE_HW, seed=n) for n in range(3)]
    with (
        backend(models, tmp_path, DEPTH_FRONT="none") as running,
        app(tmp_path, running.base) as address,
        browsing(viewport={"width": 1300, "height": 1000}) as page,
    ):
        page.goto(address)
        page.set_input_files("#photos input[type=file]", [str(photo) for photo in photos])
        page.wait_for_selector("#log:has-text('3 photos')")
        page.click("button:has-text('Reconstruct')")
        page.wait_for_selector("#log:has-text('3 views')")
        cloud = page.frame_locator("#cloud iframe")
        cloud.locator("#measured:has-text('points')").wait_for()
        first = cloud.locator("#measured").inner_text()
        tasks = running_tasks(running)
        page.click("label:has-text('Filter White Background')")
        page.wait_for_selector("#log:has-text('Made in')")
        assert running_tasks(running) == tasks, "no network runs for another look"
        page.fill("input[aria-label*='Max Points']", "10")
        page.keyboard.press("Enter")
        cloud.locator("#measured:has-text('10,000 points')").wait_for()
        assert first != "10,000 points"
        page.click("button[role=tab]:has-text('Metric Depth')")
        box = page.locator("#rgb img").bounding_box()
        for share, said in ((0.3, "One more point"), (0.7, "relative units, not metric")):
            page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.5 * box["height"])
            page.wait_for_selector(f"#measured:has-text('{said}')")
        page.fill("#metres input", "2")
        page.click("button:has-text('Set the scale')")
        page.wait_for_selector("#measured:has-text('2 m between')")
        page.click("button:has-text('Make files')")
        page.wait_for_selector("#files >> text=colmap")
        page.fill("#save-name textarea, #save-name input", "<b>room</b>")
        page.click("button:has-text('Save to gallery')")
        page.wait_for_selector("text=plain name")
        page.fill("#save-name textarea, #save-name input", "room")
        page.click("button:has-text('Save to gallery')")
        page.wait_for_selector("#saved:has-text('Saved as')")
        assert list((tmp_path / "workspace/gallery/room").glob("*_pct10/scene.glb"))
        assert not outside(page, address) and not page.wrong


def running_tasks(running):
    from apps.web.client import Client

    return running.log.count("POST") or Client(running.base, "").get("/tasks")["total_count"]


def test_a_photo_and_a_video_become_depth(tiny_served, tmp_path, save_photo):
    photo = save_photo(tmp_path / "a.png", 60, 80)
    clip = make_clip(tmp_path / "clip.mp4", [3000 * n for n in range(4)])
    with app(tmp_path, tiny_served.base) as address, browsing() as page:
        page.goto(address)
        page.click("button[role=tab]:has-text('One photo')")
        page.set_input_files("#input-photo input[type=file]", str(photo))
        page.wait_for_timeout(1000)
        page.click("button:has-text('Compute Depth'):visible")
        page.wait_for_selector("#photo-said:has-text('larger is nearer')")
        for name in ("grey", "raw", "numbers"):
            assert page.is_visible(f"#{name} a")
        page.click("button[role=tab]:has-text('A video')")
        page.set_input_files("#input-video input[type=file]", str(clip))
        page.wait_for_timeout(2000)
        page.click("button:has-text('Compute Depth'):visible")
        page.wait_for_selector("#video-log:has-text('Done')")
        page.wait_for_selector("#depth-video video")
        page.click("button[role=tab]:has-text('A scene')")
        assert "da3 backend" in page.inner_text("body"), "what does scenes is said"
        assert not outside(page, address) and not page.wrong
