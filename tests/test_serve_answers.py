"""What the service answers, over real sockets: in every media type, bit for bit the predictor's."""

import base64
import io
import json

import boto3
import botocore.config
import numpy as np
import pytest
from PIL import Image
from served import ask, encoded, get, post, problem, serving

from benchmarks.stand_in_aws import CREDENTIALS, empty_aws
from runtime.artifact.manifest import OutputSpec
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor
from serve.http.request_body import MEDIA_TYPES

IMAGE_KINDS = ("jpeg", "png", "webp", "bmp", "tiff")


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def rgb(make_photo) -> np.ndarray:
    return make_photo(37, 53, seed=4)


@pytest.fixture(scope="module")
def predictor(tiny_artifact) -> Predictor:
    return Predictor([tiny_artifact])


def bodies(rgb: np.ndarray) -> "dict[str, tuple[bytes, str, np.ndarray]]":
    """Content type -> body, header, and the pixels that a reader gets of it."""
    found = {}
    for kind in IMAGE_KINDS:
        data = encoded(rgb, kind)
        found[f"image/{kind}"] = (data, f"image/{kind}", read_photo(data))
    png = encoded(rgb, "png")
    found["application/x-image"] = (png, "application/x-image", rgb)
    found["application/x-npy"] = (npy(rgb), "application/x-npy", rgb)
    archive = io.BytesIO()
    np.savez_compressed(archive, image=rgb)
    found["application/x-npz"] = (archive.getvalue(), "application/x-npz", rgb)
    text = json.dumps({"image": base64.b64encode(png).decode()})
    found["application/json"] = (text.encode(), "application/json; charset=utf-8", rgb)
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    form = head + png + b"\r\n--x--\r\n"
    found["multipart/form-data"] = (form, "multipart/form-data; boundary=x", rgb)
    return found


@pytest.mark.parametrize("kind", MEDIA_TYPES)
def test_every_way_in_gives_the_predictors_depth_bit_for_bit(kind, tiny_served, rgb, predictor):
    body, content_type, pixels = bodies(rgb)[kind]
    status, _, answer = post(
        tiny_served.base, body, {"Content-Type": content_type, "Accept": "application/x-npy"}
    )
    assert status == 200, answer
    found = np.load(io.BytesIO(answer), allow_pickle=False)
    assert found.dtype == np.float32 and np.array_equal(found, predictor(pixels).depth)


def decoded(media_type: str, body: bytes, headers) -> np.ndarray:
    if media_type == "application/x-npy":
        return np.load(io.BytesIO(body), allow_pickle=False)
    if media_type == "application/x-npz":
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            return archive[headers["X-Depth-Kind"]]
    if media_type == "image/tiff":
        return np.asarray(Image.open(io.BytesIO(body)))
    array = json.loads(body)["depth"]
    if isinstance(array, list):
        return np.array(array, np.float32)
    assert array["byte_order"] == "little"
    data = base64.b64decode(array["base64"])
    return np.frombuffer(data, array["dtype"]).reshape(array["shape"])


@pytest.mark.parametrize("size", ["input", "model"])
@pytest.mark.parametrize(
    "media_type",
    ["application/x-npy", "application/x-npz", "image/tiff", "application/json", "list"],
)
def test_every_way_out_holds_the_predictors_depth_bit_for_bit(
    media_type, size, tiny_served, rgb, predictor
):
    query = f"?size={size}"
    if media_type == "list":
        media_type, query = "application/json", query + "&encoding=list"
    status, headers, body = post(
        tiny_served.base, encoded(rgb, "png"), {"Accept": media_type}, "/invocations" + query
    )
    assert status == 200 and headers["Content-Type"] == media_type, body
    prepared = predictor.prepare(rgb)
    ((depth, seconds),) = predictor.infer([prepared])
    grid = "photo" if size == "input" else "model"
    expected = predictor.finish(prepared, depth, seconds, grid)[0].depth
    found = decoded(media_type, body, headers)
    assert np.array_equal(found, expected)
    assert headers["X-Depth-Size"] == "{}x{}".format(*expected.shape)
    assert headers["X-Depth-Grid"] == grid


def test_a_16_bit_png_says_how_to_read_it(tiny_served, rgb, predictor):
    _, headers, body = post(tiny_served.base, encoded(rgb, "png"), {"Accept": "image/png"})
    image = Image.open(io.BytesIO(body))
    facts = json.loads(image.text["Description"])
    depth = facts["png16"]["offset"] + facts["png16"]["scale"] * np.asarray(image).astype(float)
    expected = predictor(rgb).depth
    assert np.abs(depth - expected).max() <= np.ptp(expected) / 65535
    assert headers["X-Depth-Scale"].endswith("* stored")


def test_a_colour_png_is_a_picture(tiny_served, rgb):
    _, headers, body = post(
        tiny_served.base, encoded(rgb, "png"), {"Accept": "image/png"}, "/v1/depth?png=color"
    )
    image = Image.open(io.BytesIO(body))
    assert (image.mode, image.size) == ("RGB", (53, 37))
    assert headers["X-Depth-Scale"] == "none: a picture for people"


def test_every_answer_says_what_it_holds(tiny_served, rgb, tiny_artifact):
    photo = encoded(rgb, "png")
    headers = {"X-Request-Id": "mine-1", "Accept": "application/json"}
    _, said, body = post(tiny_served.base, photo, headers)
    facts = json.loads(body)
    expected = {
        "Kind": "disparity",
        "Unit": "relative",
        "Scale": "1",
        "Size": "37x53",
        "Grid": "photo",
        "Model": "vits",
        "Artifact": tiny_artifact.digest,
        "Licence": "Apache-2.0",
    }
    for name, value in expected.items():
        assert said[f"X-Depth-{name}"] == value
        pair = f"{name.lower()}={value}"
        assert pair in said["X-Amzn-SageMaker-Custom-Attributes"]
    assert said["X-Request-Id"] == facts["request_id"] == "mine-1"
    for stage in ("decode", "queue", "infer", "encode"):
        assert f"{stage};dur=" in said["Server-Timing"]
    assert (facts["kind"], facts["unit"], facts["larger_is_nearer"]) == (
        "disparity",
        "relative",
        True,
    )
    assert set(facts["seconds"]) >= {"decode", "queue", "infer"}


def test_custom_attributes_ask_as_the_address_does(tiny_served, rgb):
    attributes = {"X-Amzn-SageMaker-Custom-Attributes": "size=model; encoding=list"}
    _, headers, _ = post(tiny_served.base, encoded(rgb, "png"), attributes)
    assert headers["X-Depth-Grid"] == "model"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/x-npz"),
        ("", "application/x-npz"),
        ("image/*", "image/png"),
        ("text/html, application/json;q=0.9", "application/json"),
    ],
)
def test_the_best_accepted_type_is_made(accept, media_type, tiny_served, rgb):
    _, headers, _ = post(tiny_served.base, encoded(rgb, "png"), {"Accept": accept})
    assert headers["Content-Type"] == media_type


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"headers": {"Accept": "text/html"}}, "not_acceptable", "application/x-npz"),
        (
            {"body": b"<p>", "headers": {"Content-Type": "text/html"}},
            "unsupported_media_type",
            "image/jpeg",
        ),
        ({"path": "/v1/depth?sise=model"}, "bad_photo", "'sise' is unknown; there are size"),
        ({"path": "/v1/depth?size=huge"}, "bad_photo", "size='huge': use one of input, model"),
        ({"path": "/v1/depth?focal_px=0"}, "bad_photo", "give pixels, above 0"),
        ({"body": b""}, "bad_request", "the body is empty"),
        ({"body": b"no photo"}, "bad_photo", "not an image in a known format"),
        ({"headers": {"X-Request-Timeout": "soon"}}, "bad_request", "give seconds, above 0"),
        ({"path": "/v2/depth"}, "not_found", ""),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right(change, code, words, tiny_served, rgb):
    request = {"body": encoded(rgb, "png"), "headers": {}, "path": "/v1/depth", **change}
    answer = post(tiny_served.base, request["body"], request["headers"], request["path"])
    facts = problem(answer)
    assert facts["code"] == code and words in facts["detail"]


def test_several_photos_are_refused_by_a_model_of_single_photos(tiny_served, rgb):
    answer = post(
        tiny_served.base, npy(np.stack([rgb, rgb])), {"Content-Type": "application/x-npy"}
    )
    assert "vits takes one photo a request" in problem(answer)["detail"]


def test_an_answer_that_would_not_fit_is_refused_before_it_is_computed(tiny_artifact, make_photo):
    photo = encoded(make_photo(400, 500), "png")
    with serving(tiny_artifact.path, DEPTH_MAX_ANSWER_MB="0.5") as served:
        facts = problem(post(served.base, photo, {"Accept": "application/x-npy"}))
        assert facts["code"] == "answer_too_large"
        assert "0.8 MiB of application/x-npy, limit 0.5; ask for size=model" in facts["detail"]
        small = post(served.base, photo, {"Accept": "application/x-npy"}, "/v1/depth?size=model")
        assert small[0] == 200
        measured = get(served.base, "/metrics")[2].decode()
        assert 'depth_rejected_total{code="answer_too_large"} 1.0' in measured
        assert 'depth_stage_seconds_count{stage="infer"} 1.0' in measured


def test_json_is_held_to_six_megabytes(tiny_served, make_photo):
    photo = encoded(make_photo(1100, 1100), "png")
    facts = problem(post(tiny_served.base, photo, {"Accept": "application/json"}))
    assert facts["code"] == "answer_too_large" and "limit 6" in facts["detail"]
    assert post(tiny_served.base, photo, {"Accept": "image/tiff"})[0] == 200


def test_the_probes_and_the_papers(tiny_served, tiny_artifact):
    for path in ("/ping", "/readyz", "/livez"):
        assert get(tiny_served.base, path)[0] == 200
    facts = json.loads(get(tiny_served.base, "/execution-parameters")[2])
    assert facts["BatchStrategy"] == "SINGLE_RECORD" and facts["MaxConcurrentTransforms"] > 0
    info = json.loads(get(tiny_served.base, "/info")[2])
    assert info["model"] == "vits" and info["licence"] == "Apache-2.0"
    assert info["artifacts"][0]["digest"] == tiny_artifact.digest
    assert info["artifacts"][0]["manifest"]["output"]["kind"] == "disparity"
    page = get(tiny_served.base, "/")
    assert page[1]["Content-Type"].startswith("text/html") and b"Drop a photo" in page[2]
    assert b"http" not in page[2].replace(b"http-equiv", b""), "the page loads nothing from afar"


def test_a_method_that_does_not_go_says_which_do(tiny_served):
    answer = ask(tiny_served.base, "GET", "/invocations")
    assert problem(answer)["code"] == "method_not_allowed" and "POST" in answer[1]["Allow"]


def test_boto3s_own_runtime_client_works(tiny_served, rgb, predictor, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=tiny_served.base,
        region_name="eu-central-1",
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )
    answer = client.invoke_endpoint(
        EndpointName="depth",
        ContentType="image/png",
        Accept="application/x-npy",
        CustomAttributes="size=input",
        Body=encoded(rgb, "png"),
    )
    found = np.load(io.BytesIO(answer["Body"].read()), allow_pickle=False)
    assert np.array_equal(found, predictor(rgb).depth)
    assert "kind=disparity" in answer["CustomAttributes"]
    with pytest.raises(client.exceptions.ClientError) as caught:
        client.invoke_endpoint(EndpointName="depth", ContentType="image/png", Body=b"no photo")
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_token_is_asked_for_everywhere_but_at_the_probes(tiny_artifact, rgb):
    with serving(tiny_artifact.path, DEPTH_TOKEN="secret") as served:
        photo = encoded(rgb, "png")
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            answer = post(served.base, photo, headers)
            assert problem(answer)["code"] == "unauthorized"
            assert answer[1]["WWW-Authenticate"] == "Bearer"
        assert get(served.base, "/metrics")[0] == get(served.base, "/info")[0] == 401
        assert get(served.base, "/ping")[0] == 200
        assert post(served.base, photo, {"Authorization": "Bearer secret"})[0] == 200
        assert "secret" not in served.log


def test_photos_come_from_allowed_buckets_only(tiny_artifact, rgb, predictor):
    with empty_aws() as address:
        credentials = {**CREDENTIALS, "AWS_ENDPOINT_URL": address}
        s3 = boto3.client(
            "s3",
            endpoint_url=address,
            region_name="us-east-1",
            aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="in/a.png", Body=encoded(rgb, "png"))
        s3.put_object(Bucket="photos", Key="large.png", Body=bytes(2 << 20))
        settings = {"DEPTH_S3_BUCKETS": "photos,gone", "DEPTH_MAX_BODY_MB": "1", **credentials}
        with serving(tiny_artifact.path, **settings) as served:

            def fetch(photo: str):
                return post(
                    served.base,
                    json.dumps({"image": photo}),
                    {"Content-Type": "application/json", "Accept": "application/x-npy"},
                )

            status, _, body = fetch("s3://photos/in/a.png")
            assert status == 200, body
            found = np.load(io.BytesIO(body), allow_pickle=False)
            assert np.array_equal(found, predictor(rgb).depth)
            for photo, code in (
                ("s3://photos/none.png", "bad_photo"),
                ("s3://photos/large.png", "too_large"),
                ("s3://secrets/a.png", "forbidden_bucket"),
                ("s3://photos", "bad_photo"),
            ):
                assert problem(fetch(photo))["code"] == code, photo


def test_metres_are_said_to_be_metres(make_artifact, rgb):
    artifact = make_artifact(kind="depth_m", model="vits-indoor")
    assert artifact.manifest.output == OutputSpec("depth_m", 20.0)
    with serving(artifact.path) as served:
        _, headers, _ = post(served.base, encoded(rgb, "png"), {"Accept": "image/png"})
        assert (headers["X-Depth-Kind"], headers["X-Depth-Unit"]) == ("depth_m", "metre")
        assert headers["X-Depth-Scale"] == "0 + 0.001 * stored, 0 is no depth"


def test_requests_are_logged_as_json_with_their_id(tiny_artifact, rgb):
    with serving(tiny_artifact.path) as served:
        post(served.base, encoded(rgb, "png"), {"X-Request-Id": "find-me"})
        served.stop()
        lines = [json.loads(line) for line in served.log.splitlines()]
    (line,) = [one for one in lines if one.get("request_id") == "find-me"]
    assert (line["status"], line["path"], line["level"]) == (200, "/v1/depth", "INFO")
    assert "infer" in line["stages"]


def test_spans_are_exported_where_opentelemetry_is_switched_on(tiny_artifact, rgb):
    with serving(tiny_artifact.path, DEPTH_OTEL="1", OTEL_TRACES_EXPORTER="console") as served:
        post(served.base, encoded(rgb, "png"))
        served.stop()
        assert '"name": "POST /v1/depth"' in served.log


def test_an_archive_is_served_as_the_folder_is(tiny_artifact, tmp_path, rgb, predictor):
    from runtime.artifact.archive import pack

    pack([tiny_artifact], tmp_path / "model.tar.gz")
    for model in (tmp_path, tmp_path / "model.tar.gz"):
        with serving(model) as served:
            _, _, body = post(served.base, encoded(rgb, "png"), {"Accept": "application/x-npy"})
            assert np.array_equal(np.load(io.BytesIO(body)), predictor(rgb).depth)
