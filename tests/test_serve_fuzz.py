"""Random bodies and headers of requests: read, or refused with a 4xx, within bounds."""

import base64
import gzip
import io
import json
import zlib

import numpy as np
import pytest
from flask import Flask, request
from fuzzing import mutations
from hypothesis import strategies as st
from PIL import Image

from serve.http.arrays import SentArray
from serve.http.options import (
    CUSTOM_ATTRIBUTES,
    Options,
    custom_attributes,
    parse_custom_attributes,
)
from serve.http.problems import problem_of
from serve.http.request_body import read_request
from serve.http.settings import Settings

pytestmark = pytest.mark.fuzz
app = Flask(__name__)
SETTINGS = Settings(max_body_mb=1, max_pixels=100_000)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20
app.config["MAX_FORM_MEMORY_SIZE"] = 1 << 20
RGB = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
KINDS = ("", "image/png", "application/json", "application/x-npy", "application/x-npz",
         "multipart/form-data; boundary=x", "multipart/form-data", "text/plain", "a/b")  # fmt: skip


def saved(write, **arrays):
    buffer = io.BytesIO()
    write(buffer, **arrays)
    return buffer.getvalue()


def png():
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "PNG")
    return buffer.getvalue()


def form(photo):
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.png"\r\n\r\n'
    option = b'\r\n--x\r\nContent-Disposition: form-data; name="size"\r\n\r\nmodel\r\n--x--\r\n'
    return head + photo + option


def good_bodies():
    text = base64.b64encode(png()).decode()
    cameras = {"intrinsics": np.eye(3)[None].tolist(), "extrinsics": np.eye(4)[None].tolist()}
    npy = io.BytesIO()
    np.save(npy, RGB)
    return [
        png(),
        npy.getvalue(),
        saved(np.savez, image=RGB),
        saved(np.savez_compressed, images=np.stack([RGB, RGB]), intrinsics=np.eye(3)[None]),
        json.dumps({"image": text, "size": "model"}).encode(),
        json.dumps({"images": ["data:image/png;base64," + text], **cameras}).encode(),
        form(png()),
    ]


def check_request(body, kind, encoding, attributes):
    headers = {"Content-Type": kind, "Content-Encoding": encoding, CUSTOM_ATTRIBUTES: attributes}
    with app.test_request_context("/v1/depth", method="POST", data=body, headers=headers):
        try:
            asked = read_request(request, SETTINGS)
            for photo in asked.photos:
                if isinstance(photo, SentArray):
                    assert photo.rgb().shape == (*photo.size_hw, 3)
        except Exception as error:
            problem = problem_of(error)
            assert 400 <= problem.status < 500, repr(error)
            assert problem.detail and len(problem.detail) <= 1000


def test_any_body_is_read_or_refused(fuzz):
    bodies = good_bodies()
    packed = [gzip.compress(bodies[0], mtime=0), zlib.compress(bodies[4])]
    sent = st.one_of(mutations(bodies), mutations(packed), st.binary(max_size=300))
    attributes = st.sampled_from(["", "size=model", "trace=1;png=color", "size=?", ";;=;"])
    encodings = st.sampled_from(["", "gzip", "deflate", "br", "gzip, gzip", "identity"])
    assert fuzz(check_request, sent, st.sampled_from(KINDS), encodings, attributes) > 0


def check_attributes(text):
    try:
        options, others = parse_custom_attributes(Options(), text)
    except Exception as error:
        assert 400 <= problem_of(error).status < 500, repr(error)
        return
    assert isinstance(options, Options) and len(others) <= len(text)
    answered = custom_attributes({"kind": "disparity", "model": "vits"}, others)
    assert answered.startswith("kind=disparity;model=vits")
    assert answered.isascii() and answered.isprintable() and len(answered) <= 1024


def test_any_attributes_are_ours_or_pass_through(fuzz):
    parts = st.one_of(
        st.text(max_size=40), st.sampled_from(["size=model", "png=16", "focal_px=1", "a=b"])
    )
    assert fuzz(check_attributes, st.lists(parts, max_size=30).map(";".join)) > 0
