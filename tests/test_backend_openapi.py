"""The backend does what its OpenAPI document says: schemathesis tries to show that it does not."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from backend_process import backend
from hypothesis import settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import positive_data_acceptance
from served import Served, ask, get
from tiny_scene import make_scene_artifact

EXAMPLES = 12  # an operation, beyond those that cover each parameter's edges
CONFIG = {"generation": {"deterministic": True}}
# Whether photos are there, and what a model takes, no schema knows
EXCLUDED = [positive_data_acceptance]
OURS = ("/inference", "/task", "/cleanup", "/reload", "/status", "/gpu-memory")

seen: "Counter[tuple[str, int]]" = Counter()


@pytest.fixture(scope="module")
def running(tmp_path_factory, save_photo) -> Iterator[Served]:
    here = tmp_path_factory.mktemp("here")
    photo = save_photo(here / "a.png", 40, 60).read_bytes()
    schemathesis.openapi.media_type("image/*", st.just(photo))
    models = make_scene_artifact(here / "artifacts", 3).path
    with backend(models, here) as served:
        body = json.dumps({"image_paths": ["a.png"], "export_format": "npz"})
        sent = ask(served.base, "POST", "/inference", body, {"Content-Type": "application/json"})
        served.task_id = json.loads(sent[2])["task_id"]  # type: ignore[attr-defined]
        get(served.base, f"/task/{served.task_id}?wait=20")
        yield served


@pytest.fixture(scope="module")
def document(running) -> Any:
    config = schemathesis.Config.from_dict(CONFIG)
    return schemathesis.openapi.from_url(f"{running.base}/openapi.json", config=config)


schema = schemathesis.pytest.from_fixture("document").include(path_regex=f"^({'|'.join(OURS)})")


@schema.parametrize()
@settings(max_examples=EXAMPLES)
def test_every_answer_of_a_backend_is_one_that_its_document_promises(case, running):
    if "task_id" in (case.path_parameters or {}) and len(str(case.query)) % 2:
        case.path_parameters["task_id"] = running.task_id
    answer = case.call_and_validate(excluded_checks=EXCLUDED)
    seen[case.operation.label, answer.status_code] += 1


def test_the_examples_reached_answers_and_refusals():
    """The examples of the test before this one."""
    if not seen:
        pytest.skip("the test before this one did not run")
    assert seen["POST /inference", 400] > 5 and seen["GET /tasks", 200] > 0
