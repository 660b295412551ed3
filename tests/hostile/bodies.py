"""JSON and forms that mean harm."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from hostile.images import png_of
from hostile.request import (
    FORM,
    JSON,
    Hostile,
)


def hostile_cameras() -> dict[str, str]:
    """What is no (1, 3, 3) of finite numbers, as JSON."""
    eye = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    return {
        "of another shape": "[[1, 2], [3, 4]]",
        "of two photos": json.dumps([eye, eye]),
        "of no photo": "[]",
        "ragged": "[[1, 0, 0], [0, 1], [0, 0, 1]]",
        "NaN": json.dumps(eye).replace("1.0", "NaN"),
        "infinite": json.dumps(eye).replace("1.0", "-Infinity"),
        "infinite all the same": json.dumps(eye).replace("1.0", "1e999"),
        "of texts": json.dumps([[str(number) for number in row] for row in eye]),
        "of nothings": json.dumps([[None] * 3] * 3),
        "of truths": json.dumps([[True] * 3] * 3),
        "of objects": json.dumps([[{}] * 3] * 3),
        "a number": "7",
        "a text": '"' + "a" * 100_000 + '"',
        "an object": '{"a": 1}',
        "of 400 digits": json.dumps(eye).replace("1.0", "9" * 400),
        "of 5000 digits": json.dumps(eye).replace("1.0", "9" * 5000),
        "nested a hundred deep": "[" * 100 + "1" + "]" * 100,
        "of long and short texts": json.dumps(["a" * 100_000] + ["b"] * 50_000),
        "of fifty thousand": json.dumps([0] * 50_000),
    }


def jsons(png: bytes, bomb: bytes) -> Iterator[Hostile]:
    photo = base64.b64encode(png).decode()
    bodies: dict[str, str] = {
        "not JSON": "hello",
        "cut off": '{"image": "' + photo[:50],
        "a quarter million of brackets": "[" * 250_000,
        "nested a hundred thousand deep": "[" * 99_999,
        "objects ninety thousand deep": '{"a":' * 90_000,
        "empty lists": "[" + "[]," * 600_000 + "[]]",
        "empty objects": '{"images": [' + "{}," * 600_000 + "{}]}",
        "a list": "[1, 2]",
        "a number": "7",
        "null": "null",
        "nothing": "{}",
        "a name twice": f'{{"image": "{photo}", "image": "{photo}"}}',
        "an unknown name": json.dumps({"image": photo, "colour": "red"}),
        "a long unknown name": json.dumps({"image": photo, "c" * 1_000_000: "red"}),
        "a name in halves of letters": json.dumps({"image": photo, "\udc80": 1}),
        "its own methods": json.dumps({"image": photo, "__class__": 1, "__init__": 2}),
        "NaN": f'{{"image": "{photo}", "focal_px": NaN}}',
        "infinity": f'{{"image": "{photo}", "focal_px": Infinity}}',
        "UTF-8 that is none": '{"image": "\udcff"}',
        "base64 that is none": json.dumps({"image": "$$$$"}),
        "base64 with lines": json.dumps({"image": photo[:20] + "\n" + photo[20:]}),
        "base64 cut off": json.dumps({"image": photo[:-3]}),
        "base64 in other letters": json.dumps({"image": "ÄÖÜß" * 100}),
        "base64 of base64": json.dumps({"image": base64.b64encode(photo.encode() * 2).decode()}),
        "base64 that is one letter too long": json.dumps(
            {"image": photo.rstrip("=")[: len(photo) // 8 * 4] + "A"}
        ),
        "a data address of nothing": json.dumps({"image": "data:image/png;base64,"}),
        "a data address without comma": json.dumps({"image": "data:image/png;base64"}),
        "a data address of a page": json.dumps({"image": "data:text/html,<script>1</script>"}),
        "white space only": json.dumps({"image": " \n" * 500_000}),
        "commas": json.dumps({"image": "," * 90_000}),
        "base64 of nothing": json.dumps({"image": ""}),
        "base64 of a pickle": json.dumps({"image": base64.b64encode(bomb).decode()}),
        "a data address": json.dumps({"image": "data:image/png;base64," + photo}),
        "a forbidden bucket": json.dumps({"image": "s3://somebody-elses/key.png"}),
        "a bucket with a prefix": json.dumps({"image": "s3://allowed.evil/key.png"}),
        "a bucket in other letters": json.dumps({"image": "s3://ALLOWED/key.png"}),
        "an account before the bucket": json.dumps({"image": "s3://allowed@evil/key.png"}),
        "no bucket": json.dumps({"image": "s3:///key.png"}),
        "no key": json.dumps({"image": "s3://allowed"}),
        "an empty key": json.dumps({"image": "s3://allowed/"}),
        "a long forbidden bucket": json.dumps({"image": "s3://" + "a" * 1_000_000 + "/b"}),
        "S3, shouted": json.dumps({"image": "S3://allowed/key.png"}),
        "a file": json.dumps({"image": "file:///etc/passwd"}),
        "a path": json.dumps({"image": "/etc/passwd"}),
        "the metadata service": json.dumps({"image": "http://169.254.169.254/latest/meta-data"}),
        "https": json.dumps({"image": "https://localhost/a.png"}),
        "image and images": json.dumps({"image": photo, "images": [photo]}),
        "no images": json.dumps({"images": []}),
        "images that are one": json.dumps({"images": photo}),
        "images of images": json.dumps({"images": [[photo]]}),
        "two photos for one that takes one": json.dumps({"images": [photo, photo]}),
        "seventeen photos": json.dumps({"images": [photo] * 17}),
        "fifty thousand photos": json.dumps({"images": [""] * 50_000}),
        "two gigabytes of width": json.dumps(
            {"image": base64.b64encode(png_of(2**31 - 1, 2**31 - 1)).decode()}
        ),
    }
    wrong: tuple[Any, ...] = (None, 7, -1.5, "no", [], {}, ["16"], {"a": 1}, [[["a"] * 9] * 9])
    for name in ("image", "size", "png", "colormap", "encoding", "focal_px", "ref_view_strategy"):
        for value in (*wrong, True):
            if (name, value) != ("focal_px", 7):
                text = json.dumps({"image": photo, name: value})
                bodies[f"{name} is {json.dumps(value)[:20]}"] = text
    for value in wrong:
        text = json.dumps({"image": photo, "use_ray_pose": value})
        bodies[f"use_ray_pose is {json.dumps(value)[:20]}"] = text
    for value in ("0", "-0", "1e999", "-1", "9" * 400, "9" * 5000, '"1e400"', '"nan"'):
        bodies[f"focal_px is {value[:20]}{len(value)}"] = (
            f'{{"image": "{photo}", "focal_px": {value}}}'
        )
    for depth in (300, 600, 900, 930, 950, 970, 980, 990):  # where recursion ends
        nested = "[" * depth + "]" * depth
        bodies[f"an option nested {depth} deep"] = f'{{"image": "{photo}", "size": {nested}}}'
    for name, cameras in hostile_cameras().items():
        bodies[f"intrinsics {name}"] = f'{{"image": "{photo}", "intrinsics": {cameras}}}'
        bodies[f"extrinsics {name}"] = f'{{"image": "{photo}", "extrinsics": {cameras}}}'
    for name, text in bodies.items():
        harmless = name in ("base64 with lines", "a data address")
        data = text.encode("utf-8", "surrogateescape")
        yield Hostile(f"JSON: {name}", data, JSON, harmless=harmless)
    yield Hostile("JSON: no body", b"", JSON)
    yield Hostile("JSON: a pickle", bomb, JSON)
    yield Hostile("JSON: UTF-16 cut off", '{"image": 1}'.encode("utf-16")[:-1], JSON)


def part(disposition: str, body: bytes, more: str = "") -> bytes:
    head = f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n"
    return head.encode("utf-8", "surrogateescape") + body + b"\r\n"


def forms(png: bytes, bomb: bytes) -> Iterator[Hostile]:
    photo = part('form-data; name="image"; filename="a.png"', png)
    end = b"--b--\r\n"
    bodies = {
        "no file": part('form-data; name="size"', b"model") + end,
        "nothing": end,
        "no body": b"",
        "no end": photo[:-50],
        "no part": b"hello",
        "no head": b"--b\r\n\r\n" + png + b"\r\n" + end,
        "a head without end": b"--b\r\nContent-Disposition: form-data; name=" + b"a" * 1_000_000,
        "a photo as text": part('form-data; name="image"', b"hello") + end,
        "a part in base64 that is none": part(
            'form-data; name="image"; filename="a.png"',
            b"$$$",
            "Content-Transfer-Encoding: base64\r\n",
        )
        + end,
        "a part in a coding that is none": part(
            'form-data; name="image"; filename="a.png"', png, "Content-Transfer-Encoding: x\r\n"
        )
        + end,
        "an archive among files": part('form-data; name="image"; filename="a"', b"PK\3\4aa") + end,
        "an empty photo": part('form-data; name="image"; filename="a.png"', b"") + end,
        "a pickle": part('form-data; name="image"; filename="a.pkl"', bomb) + end,
        "two photos": photo + photo + end,
        "seventeen photos": photo * 17 + end,
        "ten thousand parts": part('form-data; name="a"', b"") * 10_000 + end,
        "ten thousand files": part('form-data; name="a"; filename="b"', b"") * 10_000 + end,
        "a field of a megabyte": photo + part('form-data; name="size"', b"a" * 1_100_000) + end,
        "a name of a megabyte": photo + part(f'form-data; name="{"a" * 1_000_000}"', b"") + end,
        "an unknown field": photo + part('form-data; name="colour"', b"red") + end,
        "no name": photo + part("form-data", b"x") + end,
        "another disposition": part('attachment; filename="a.png"', b"x") + end,
        "a wrong value": photo + part('form-data; name="size"', b"huge") + end,
        "a field that is no text": photo + part('form-data; name="size"', b"\xff\xfe\x80") + end,
        "another alphabet": photo
        + part('form-data; name="size"', b"+AGE-", "Content-Type: text/plain; charset=utf-7\r\n")
        + end,
        "lines of nothing": b"\r\n" * 400_000,
        "borders only": b"--b\r\n" * 100_000,
        "many wrong ends": b"\r\n--c" * 200_000,
    }
    for name, cameras in hostile_cameras().items():
        field_ = part('form-data; name="intrinsics"', cameras.encode())
        bodies[f"intrinsics {name}"] = photo + field_ + end
    bodies["intrinsics that are no JSON"] = photo + part('form-data; name="intrinsics"', b"a") + end
    for name, body in bodies.items():
        yield Hostile(f"form: {name}", body, f"{FORM}; boundary=b")
    for border in (
        "",
        "; boundary=",
        "; boundary=" + "c" * 3000,
        '; boundary="',
        "; boundary=\xff",
    ):
        name = f"form: the border is {border[:20]!r}"
        # The first line tells it as well
        yield Hostile(name, photo + end, FORM + border, harmless=len(border) < 100)
