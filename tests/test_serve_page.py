"""The page at /: its own script, run by node on a stand-in for the browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.predict.choose import Choice
from serve.http.routes import create_app
from serve.http.service import Service
from serve.http.settings import Settings
from serve.http.worker_states import READY, WorkerStates

PAGE = (Path(__file__).parents[1] / "serve" / "http" / "page.html").read_text(encoding="utf-8")

# Elements by id, requests that answer when they are told to, and what the page did with them.
BROWSER = """
const elements = {}, sent = [], made = [], listeners = {};
const element = id => elements[id] ||= {id, value: "", hidden: id === "pair" || id === "warning",
  textContent: "", classList: {add() {}, remove() {}}, append() {}, replaceChildren() {},
  removeAttribute(name) { delete this[name]; }};
const document = {getElementById: element, addEventListener: (kind, f) => { listeners[kind] = f; },
  createElement: tag => { const one = {tag, append() {}, click() { made.push({...this}); }};
    return one; }};
let count = 0;
const address = {createObjectURL: () => "blob:" + ++count, revokeObjectURL() {}};
const rest = () => new Promise(done => setTimeout(done, 20));
const answer = (number, warning, status = 200) => sent[number].done({ok: status === 200, status,
  headers: {get: name => name === "X-Depth-Warning" ? warning : "said"}, statusText: "no",
  blob: async () => ({}), json: async () => ({title: "bad", detail: "no photo"})});
const fetch = (path, asked) => new Promise((done, failed) =>
  asked.body ? sent.push({path, name: asked.body.name, accept: asked.headers.Accept, done})
    : failed(new Error("not asked for here")));
const choose = name => { element("file").files = [{name}]; element("file").onchange(); };
const press = async () => { element("npz").onclick({preventDefault() {}}); await rest(); };
"""


def on_page(script: str):
    """Run the page's script and then this one; returns what it gives to ``report``."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: nothing here runs the page's script")
    (page,) = re.findall(r"<script>(.*)</script>", PAGE, re.S)
    program = f"""{BROWSER}
    new Function("document", "fetch", "URL", {json.dumps(page)})(document, fetch, address);
    const report = found => console.log(JSON.stringify(found));
    (async () => {{ await rest(); {script} }})();"""
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_numbers_can_be_downloaded_again_and_again_by_keyboard_too():
    found = on_page("""
      choose("a.jpg"); answer(0, null); await rest();
      const links = [element("npz").href];
      for (const number of [1, 2]) {
        await press(); answer(number, null); await rest(); links.push(element("npz").href); }
      report({links, made, accept: sent.map(one => one.accept)});
    """)
    assert found["links"] == ["#"] * 3, "without an address, a link cannot be reached by keyboard"
    assert [one["download"] for one in found["made"]] == ["a.jpg.npz"] * 2
    assert all(one["href"].startswith("blob:") for one in found["made"])
    assert found["accept"] == ["image/png", "application/x-npz", "application/x-npz"]


@pytest.mark.parametrize("warning", [None, "made with random weights"])
def test_a_warning_is_shown_beside_the_picture(warning):
    found = on_page(f"""
      choose("a.jpg"); answer(0, {json.dumps(warning)}); await rest();
      report({{hidden: element("warning").hidden, text: element("warning").textContent}});
    """)
    expected = {"hidden": True, "text": ""}
    if warning:
        expected = {"hidden": False, "text": f"No depth: {warning}"}
    assert found == expected


def test_after_a_photo_that_fails_the_link_gives_the_numbers_of_the_picture_that_is_shown():
    found = on_page("""
      choose("good.jpg"); answer(0, null); await rest();
      choose("bad.txt"); answer(1, null, 400); await rest();
      await press();
      report({state: element("state").textContent, asked: sent[2].name,
        shown: element("name").textContent});
    """)
    assert found == {"state": "bad: no photo", "asked": "good.jpg", "shown": "good.jpg"}


def test_the_photo_chosen_last_is_shown_whichever_answer_comes_last():
    found = on_page("""
      choose("old.jpg"); choose("new.jpg");
      answer(1, null); await rest(); answer(0, null); await rest();
      report(element("name").textContent);
    """)
    assert found == "new.jpg"


def test_a_photo_dropped_beside_the_zone_is_taken_too():
    found = on_page("""
      let left = true;
      listeners.drop({preventDefault() { left = false; },
        dataTransfer: {files: [{name: "a.jpg"}]}});
      report({left, asked: sent[0].name});
    """)
    assert found == {"left": False, "asked": "a.jpg"}


def test_before_there_is_a_model_people_see_that_it_loads():
    states = WorkerStates()
    states.enter(1)
    client = create_app(Service(Settings(), Choice(()), None, states, None)).test_client()
    page = client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 503 and page.mimetype == "text/html"
    assert b"The model is loading" in page.data and page.headers["X-Depth-Problem"] == "not_ready"
    for accept in ("", "*/*", "application/json"):
        assert client.get("/", headers={"Accept": accept}).json["code"] == "not_ready"
    states.set(READY)
    assert client.get("/", headers={"Accept": "*/*"}).status_code == 200
