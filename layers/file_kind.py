"""What a file that was given for weights is instead, told by how it begins.

Its first bytes in, a sentence out. Nothing else is read.
"""

import contextlib
from typing import Optional

SHOWN = 60  # characters of a text that are quoted
SAVE_AGAIN = "save it again with a current torch, or as safetensors"
UNPACK = "unpack it first"

BINARY = (
    (b"\x80", f"not a checkpoint in torch's zip format but in the one before it; {SAVE_AGAIN}"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes it, not weights of torch"),
    (b"GGUF", "a GGUF file, not weights of torch"),
    (b"\x93NUMPY", "an array of numpy, not a checkpoint"),
    (b"\x1f\x8b", f"packed by gzip; {UNPACK}"),
    (b"\xfd7zXZ\0", f"packed by xz; {UNPACK}"),
    (b"BZh", f"packed by bzip2; {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"packed by 7-Zip; {UNPACK}"),
    (b"Rar!", f"packed by RAR; {UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"packed by Zstandard; {UNPACK}"),
)
LFS = "a pointer of git-lfs instead of the weights; get them with `git lfs pull`"
PAGE = "a page in HTML instead of weights, as servers send it for an error; fetch it again"
INDEX = (
    "the index of weights in several files; join them into one, as safetensors.torch.save_file "
    "writes it"
)
JSON = "a text in JSON instead of weights; give the file of weights beside it"
OPENVINO = "a graph of OpenVINO, not weights of torch"
ONNX = "an ONNX graph, not weights of torch; give the checkpoint that it was made from"


def kind_in_words(start: bytes) -> Optional[str]:
    """What a file is, if its first 512 bytes tell; None if they do not."""
    if not start:
        return "empty"
    if not start.strip(b"\0"):
        return "nothing but zeros, as a download that broke off leaves it; fetch it again"
    for magic, said in BINARY:
        if start.startswith(magic):
            return said
    if start[257:262] == b"ustar":
        return f"a tar archive; {UNPACK}"
    if start[:1] == b"\x08" and start[2:3] == b"\x12" and start[3] < 64:  # version, then maker
        return ONNX
    return _text_in_words(start)


def _text_in_words(start: bytes) -> Optional[str]:
    text = _as_text(start)
    if text is None or any(not (c.isprintable() or c.isspace()) for c in text):
        return None
    lower = text.strip().lower()
    if lower.startswith("version https://"):
        return LFS
    if lower.startswith("<"):
        return OPENVINO if "<net " in lower else PAGE
    if lower.startswith("{") and ('"weight_map"' in lower or '"total_size"' in lower):
        return INDEX
    if lower.startswith(("{", "[")):
        return JSON
    return f"a text instead of weights, {' '.join(text.split())[:SHOWN]!r}; fetch it again"


def _as_text(start: bytes) -> Optional[str]:
    """Text in UTF-8, or in UTF-16 with its mark; its last letter may be cut."""
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff")
    for cut in range(4):
        with contextlib.suppress(UnicodeDecodeError):
            return start[: len(start) - cut].decode("utf-16" if wide else "utf-8-sig")
    return None
