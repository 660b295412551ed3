"""NumPy's files that mean harm: headers that lie, and archives of them."""

import io
import struct
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from hostile.request import NPY, NPZ, Hostile


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def npy_of(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin1") + b"\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def says(shape: str, descr: str = "'|u1'", fortran: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}"


def hostile_arrays(bomb: bytes) -> dict[str, bytes]:
    twelve = bytes(12)
    nines = "9" * 4000
    return {
        "objects": npy_of(says("(1,)", "'|O'"), bomb),
        "objects, said to be a photo": npy_of(says("(2, 2, 3)", "'|O'"), bomb),
        "objects in a structure": npy_of(says("(1,)", "[('a', '|O'), ('b', '<i4')]"), bomb),
        "a structure": npy_of(says("(4,)", "[('r', 'u1'), ('g', 'u1'), ('b', 'u1')]"), twelve),
        "arrays in an array": npy_of(says("(2, 2)", "('|u1', (3,))"), twelve),
        "a terabyte": npy_of(says("(1000000, 1000000, 3)"), twelve),
        "more than there are addresses": npy_of(says(f"({2**62}, {2**62}, 3)"), twelve),
        "sizes of 4000 digits": npy_of(says(f"({nines}, {nines}, 3)"), twelve),
        "sizes of 9000 digits": npy_of(says(f"({'9' * 9000}, 1, 3)"), twelve),
        "nothing, but very wide": npy_of(says(f"(0, {10**15}, 3)")),
        "negative sides": npy_of(says("(-2, -2, 3)"), twelve),
        "one negative side": npy_of(says("(-1, 2, 3)"), twelve),
        "truths for sides": npy_of(says("(True, True, 3)"), b""),
        "floats for sides": npy_of(says("(2.0, 2.0, 3)"), twelve),
        "a list for a shape": npy_of(says("[2, 2, 3]"), twelve),
        "a thousand dimensions": npy_of(says("(" + "1," * 1000 + ")"), b"\0"),
        "no dimension": npy_of(says("()"), b"\0"),
        "four channels": npy(np.zeros((4, 4, 4), np.uint8)),
        "grey": npy(np.zeros((4, 4), np.uint8)),
        "signed": npy(np.zeros((4, 4, 3), np.int8)),
        "floats": npy(np.zeros((4, 4, 3), np.float32)),
        "not finite": npy(np.full((4, 4, 3), np.nan)),
        "complex": npy(np.zeros((4, 4, 3), np.complex64)),
        "text": npy(np.full((4, 4, 3), "a" * 50)),
        "dates": npy(np.zeros((4, 4, 3), "M8[s]")),
        "void of two gigabytes": npy_of(says("(1,)", "'|V2000000000'"), twelve),
        "no such type": npy_of(says("(2, 2, 3)", "'|z9'"), twelve),
        "a type of many types": npy_of(says("(2, 2, 3)", "'" + "i4," * 3000 + "'"), twelve),
        "seventeen photos": npy(np.zeros((17, 2, 2, 3), np.uint8)),
        "data that ends early": npy(np.zeros((9, 9, 3), np.uint8))[:-1],
        "a header that ends early": npy(np.zeros((9, 9, 3), np.uint8))[:40],
        "nothing but magic": b"\x93NUMPY",
        "version 3": npy_of(says("(2, 2, 3)"), twelve, 3),
        "version 255": npy_of(says("(2, 2, 3)"), twelve, 255),
        "a header of four gigabytes": b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(1000),
        "a header of a megabyte": npy_of(says("(2, 2, 3)") + " " * (1 << 20), twelve, 2),
        "a header that is a call": npy_of("__import__('os').system('true')"),
        "a header that is a power": npy_of(says("(9**9**9, 1, 3)")),
        "a header of brackets": npy_of("(" * 9900),
        "a header of closed brackets": npy_of("[" * 90 + "]" * 90),
        "a header of minus signs": npy_of("-" * 9900 + "1"),
        "a header of nots": npy_of("not " * 2400 + "1"),
        "a header of sums": npy_of("1+" * 4900 + "1"),
        "a header of conditions": npy_of("1 if 1 else " * 800 + "1"),
        "a header of lambdas": npy_of("lambda:" * 1400 + "1"),
        "a header that is a list": npy_of("[1, 2, 3]"),
        "a header with more": npy_of(says("(2, 2, 3)")[:-1] + ", 'more': 1}", twelve),
        "a header with nul": npy_of(says("(2, 2, 3)") + "\0", twelve),
        "an order that is none": npy_of(says("(2, 2, 3)", fortran="2"), twelve),
    }


def arrays(bomb: bytes) -> Iterator[Hostile]:
    for name, body in hostile_arrays(bomb).items():
        yield Hostile(f"npy: {name}", body, NPY)
    yield Hostile("npy: no body", b"", NPY)
    yield Hostile("npy: an archive", zipped({"image.npy": b""}), NPY)


def zipped(members: Mapping[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        for name, body in members.items():
            archive.writestr(zipfile.ZipInfo(name), body, packing)
    return buffer.getvalue()


def archives(bomb: bytes) -> Iterator[Hostile]:
    photo = npy(np.zeros((4, 4, 3), np.uint8))
    whole = zipped({"image.npy": photo})
    # thirty-two megabytes in thirty-two kilobytes, more than such a server takes in
    wide = npy_of(says("(1000, 11000, 3)"), bytes(33_000_000))
    header = b"\x93NUMPY\2\0" + struct.pack("<I", 64 << 20) + b" " * (64 << 20)
    table, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    entry = whole[table:end]
    bodies = {
        "a photo that unpacks to 33 MB": zipped({"image.npy": wide}),
        "a photo that LZMA unpacks to 33 MB": zipped({"image.npy": wide}, zipfile.ZIP_LZMA),
        "a photo that bzip2 unpacks to 33 MB": zipped({"image.npy": wide}, zipfile.ZIP_BZIP2),
        "a header that unpacks to 64 MB": zipped({"image.npy": header}),
        "cameras that unpack to 33 MB": zipped({"image.npy": photo, "intrinsics.npy": wide}),
        "a terabyte claimed": zipped({"image.npy": npy_of(says("(1000000, 1000000, 3)"))}),
        "sizes that lie": whole[: table + 20] + b"\x09\0\0\0\xff" + whole[table + 25 :],
        "a wrong name": zipped({"photo.npy": photo}),
        "no ending": zipped({"image": photo}),
        "a path": zipped({"../../image.npy": photo}),
        "an absolute path": zipped({"/image.npy": photo}),
        "a folder": zipped({"image.npy/": b""}),
        "a long name": zipped({"a" * 60_000 + ".npy": photo}),
        "a name of no letters": zipped({"": photo}),
        "a name in other letters": zipped({"im\u0430ge.npy": photo}),
        "an archive in it": zipped({"image.npy": whole}),
        "both names": zipped({"image.npy": photo, "images.npy": photo}),
        "no image": zipped({"intrinsics.npy": npy(np.eye(3))}),
        "nothing": zipped({}),
        "the same name twice": (
            whole[:end]
            + entry
            + b"PK\5\6\0\0\0\0\2\0\2\0"
            + struct.pack("<IIH", 2 * len(entry), table, 0)
        ),
        "ten thousand members": zipped({f"{index}.npy": b"" for index in range(10_000)}),
        "encrypted": whole.replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0"),
        "no such packing": whole[: table + 10] + b"\x63\0" + whole[table + 12 :],
        "a wrong sum": zipped({"image.npy": photo}, zipfile.ZIP_STORED).replace(
            bytes(48), b"x" * 48
        ),
        "a broken packing": whole[:50] + b"\xff" * 20 + whole[70:],
        "the table cut off": whole[:end],
        "the end only": whole[end:],
        "a table elsewhere": whole[: end + 16] + b"\xff\xff\xff\x7f" + whole[end + 20 :],
        "no archive": b"PK\3\4" + bytes(200),
        "bzip2, damaged": zipped({"image.npy": photo}, zipfile.ZIP_BZIP2)[:-80] + whole[-80:],
        "cameras of text": zipped(
            {"image.npy": photo, "intrinsics.npy": npy(np.full((3, 3), "a"))}
        ),
        "cameras of nothing": zipped(
            {"image.npy": photo, "intrinsics.npy": npy(np.full((3, 3), np.nan))}
        ),
    }
    for name, body in hostile_arrays(bomb).items():
        if "photos" not in name:
            bodies[f"npy, {name}"] = zipped({"image.npy": body})
    for name, body in bodies.items():
        yield Hostile(f"npz: {name}", body, NPZ)
