"""SageMaker: a photo to an endpoint and its depth back, at once or queued."""

import threading
from http.server import ThreadingHTTPServer

import pytest
from stand_in_sagemaker import BUCKET, NOBODY, Container


@pytest.fixture()
def container():
    """Its address, the requests it saw, and the statuses it shall answer with."""
    Container.seen, Container.statuses = [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), Container) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", Container
        running.shutdown()


def test_invoke_sends_the_photo_as_it_is_and_writes_the_answer(
    container, run, save_photo, tmp_path
):
    url, seen = container
    photo, output = save_photo(tmp_path / "a.jpg"), tmp_path / "out" / "a.npy"
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--photo", photo, "--output", output,
        "--accept", "application/x-npy", "--attributes", "size=model;png=color", url=url,
    )  # fmt: skip
    assert status == 0
    ((path, headers, body),) = seen.seen
    assert path == "/endpoints/depth/invocations"
    assert body == photo.read_bytes()
    assert headers["content-type"] == "image/jpeg"
    assert headers["accept"] == "application/x-npy"
    assert headers["x-amzn-sagemaker-custom-attributes"] == "size=model;png=color"
    assert output.read_bytes() == b"\x93NUMPY"
    assert facts == {
        "file": str(output),
        "bytes": 6,
        "content_type": "application/x-npy",
        "custom_attributes": "kind=disparity",
        "variant": None,
    }


def test_invoke_tries_again_what_may_pass_and_not_what_will_not(
    container, run, save_photo, tmp_path
):
    url, seen = container
    photo, output = save_photo(tmp_path / "a.jpg"), tmp_path / "a.npy"
    line = ("invoke", "--endpoint", "depth", "--photo", photo, "--output", output)
    seen.statuses[:] = [503]
    assert run(*line, url=url)[0] == 0
    assert len(seen.seen) == 2
    output.unlink()
    seen.statuses[:] = [400]
    status, out, err = run(*line, url=url)
    assert (status, out) == (1, [])
    assert "no photo of ours" in err
    assert len(seen.seen) == 3
    assert not output.exists()
    seen.statuses[:] = [406]  # and one that gives no reason
    assert "HTTP 406" in run(*line, url=url)[2]


def test_invoke_reaches_an_endpoint_of_moto(aws, run, tmp_path):
    request = tmp_path / "a.json"
    request.write_text("{}")
    output = tmp_path / "a.bin"
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--photo", request, "--output", output
    )
    assert status == 0
    assert output.read_bytes() == b"body"  # what moto always answers
    assert facts["custom_attributes"] == "custom_attributes"
    assert facts["variant"] == "invoked_production_variant"


def test_invoke_queues_a_photo_in_s3(aws, run):
    status, (facts,), _ = run(
        "invoke", "--endpoint", "depth", "--input", f"s3://{BUCKET}/a.jpg", "--accept", "image/png"
    )
    assert status == 0
    assert facts["OutputLocation"].startswith("s3://")
    assert facts["FailureLocation"].startswith("s3://")
    assert facts["InferenceId"]


@pytest.mark.parametrize(
    ("name", "size", "more", "match"),
    [
        ("a.jpg", (6 << 20) + 1, (), "takes 1 to 6,291,456"),
        ("a.jpg", 0, (), "takes 1 to"),
        ("a.raw", 10, (), "give --content-type"),
        ("a.jpg", 10, ("--attributes", "grün=1"), "plain ASCII"),
        ("a.jpg", 10, ("--attributes", "x" * 1025), "at most 1024"),
        ("none.jpg", None, (), "No such file"),
    ],
)
def test_what_sagemaker_would_refuse_is_not_sent(name, size, more, match, run, tmp_path):
    if size is not None:
        (tmp_path / name).write_bytes(bytes(size))
    status, out, err = run("invoke", "--endpoint", "depth", "--photo", tmp_path / name,
                           "--output", tmp_path / "out", *more, url=NOBODY)  # fmt: skip
    assert (status, out) == (1, [])
    assert match in err


def test_the_largest_photo_that_sagemaker_takes_is_sent(run, tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(6 << 20))
    status, (line,), _ = run("invoke", "--endpoint", "depth", "--photo", tmp_path / "a.jpg",
                             "--output", tmp_path / "out", "--dry-run", url=NOBODY)  # fmt: skip
    assert status == 0
    assert line["parameters"]["Body"] == "(6291456 bytes)"


def test_invoke_without_a_place_for_the_answer_is_refused(run, tmp_path):
    status, _, err = run("invoke", "--endpoint", "depth", "--photo", tmp_path / "a.jpg", url=NOBODY)
    assert status == 2
    assert "--photo needs --output" in err
