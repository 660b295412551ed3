"""Forms, texts and encodings of a photo as clients send them, and what many of them cost."""

import base64
import gzip
import io
import json
import threading
import time
from urllib.parse import urlencode

import flask
import numpy as np
import pytest
from hostile import npy, part
from served import ask, connect, encoded, get, rss_mb, serving
from werkzeug.test import EnvironBuilder

from runtime.photo.decode import read_photo
from serve.http.arrays import SentArray
from serve.http.encodings import decode_body, encodings_of
from serve.http.growth import Growth
from serve.http.problems import Problem
from serve.http.request_body import read_request
from serve.http.settings import Settings

RGB = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
PNG = encoded(RGB, "png")
TEXT = base64.b64encode(PNG).decode()
FORM = "multipart/form-data; boundary=b"


def asked(body: bytes, kind=None):
    """What a request with this body asks for."""
    environ = EnvironBuilder("/", method="POST", input_stream=io.BytesIO(body)).get_environ()
    environ["CONTENT_LENGTH"] = str(len(body))
    if kind is not None:
        environ["CONTENT_TYPE"] = kind
    return read_request(flask.Request(environ), Settings(max_views=8))


def pixels(request) -> "list[np.ndarray]":
    """RGB of each of its photos."""
    photos = request.photos
    return [one.rgb() if isinstance(one, SentArray) else read_photo(one) for one in photos]


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def test_a_form_is_read_whoever_wrote_it():
    image = 'form-data; name="image"'
    ways = (
        part(image + '; filename="a.png"', PNG),
        part('form-data; name="photo"; filename="../../a.png"', PNG),
        part(image, PNG),  # curl -F image=<a.png
        part(image, TEXT.encode()),
        part('form-data; name="images"', b"data:image/png;base64," + TEXT.encode()),
        part(image + '; filename="a"', TEXT.encode(), "Content-Transfer-Encoding: base64\r\n"),
        part(image + '; filename="a"', TEXT.encode(), "Content-Type: text/plain\r\n"),
    )
    for way in ways:
        assert asked(form(way), FORM).photos == (PNG,)
    found = asked(form(*ways, part('form-data; name="png"', b"color")), FORM)
    assert found.photos == (PNG,) * len(ways) and found.options.png == "color"


def test_arrays_are_photos_in_forms_and_in_base64_too():
    stack = npy(np.stack([RGB, RGB[::-1]]))
    file = part('form-data; name="image"; filename="a.npy"', stack)
    text = json.dumps({"image": base64.b64encode(stack).decode()}).encode()
    for found in (asked(form(file), FORM), asked(text)):
        assert np.array_equal(pixels(found), [RGB, RGB[::-1]])


def test_a_border_that_the_header_lacks_is_the_bodys_first_line():
    body = form(part('form-data; name="image"; filename="a.png"', PNG))
    assert asked(body, "multipart/form-data").photos == (PNG,)
    with pytest.raises(Problem, match="no boundary in its Content-Type"):
        asked(PNG, "multipart/form-data")


def test_a_form_without_files_is_read():
    body = urlencode({"image": TEXT, "size": "model"}).encode()
    found = asked(body, "application/x-www-form-urlencoded")
    assert found.photos == (PNG,) and found.options.size == "model"


@pytest.mark.parametrize("kind", ["text/plain", "image/png", None, "application/octet-stream"])
def test_a_body_of_base64_is_the_photo_that_it_stands_for(kind):
    for text in (TEXT, base64.encodebytes(PNG).decode(), "data:image/png;base64," + TEXT):
        assert asked(text.encode(), kind).photos == (PNG,)


HEAD = b"POST /v1/depth HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"


def test_encodings_of_the_transfer_are_undone_too(tiny_artifact):
    packed = gzip.compress(PNG)  # nginx takes chunks alone
    with (
        serving(tiny_artifact.path, DEPTH_FRONT="none") as served,
        connect(served.base) as connection,
    ):
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)
        connection.sendall(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunk)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_waits_to_be_told_to_go_on_is_told(tiny_served):
    with connect(tiny_served.base) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(PNG))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(PNG)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_bodies_that_grow_share_one_budget_and_give_it_back():
    growth, names = Growth(3 << 20), encodings_of("gzip", "chunked")
    packed = gzip.compress(bytes(2 << 20))
    for _ in range(3):
        with growth.claims() as first, growth.claims() as second:
            assert len(decode_body(packed, names, 4 << 20, first.more)) == 2 << 20
            with pytest.raises(Problem, match="other requests are being unpacked") as caught:
                decode_body(packed, names, 4 << 20, second.more)
            assert caught.value.status == 429 and caught.value.retry_after_s
    assert growth.add(3 << 20), "all of it is free again"


def test_many_small_bodies_that_unpack_to_much_leave_room_for_others(tiny_artifact):
    photo = encoded(np.zeros((300, 300, 3), np.uint8), "png")
    body = gzip.compress(photo + bytes((24 << 20) - len(photo)))
    headers = {"Content-Type": "image/png", "Content-Encoding": "gzip"}
    statuses: list[int] = []
    with serving(tiny_artifact.path) as served:
        before, most = rss_mb(served.workers[0]), 0.0

        def send() -> None:
            statuses.append(ask(served.base, "POST", "/v1/depth", body, headers)[0])

        threads = [threading.Thread(target=send) for _ in range(40)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most = max(most, rss_mb(served.workers[0]))
            assert get(served.base, "/ping")[0] == 200
            time.sleep(0.02)
    assert set(statuses) <= {200, 429} and 200 in statuses
    assert most - before < 600, "40 times 24 MB came in"
