"""EXIF and XMP by hand, sound and broken."""

import struct
from typing import Union

ORIENTATION, EXIF_IFD, FOCAL_35_MM = 0x0112, 0x8769, 0xA405
Entry = tuple[int, int, int, Union[int, bytes]]  # tag, type, count, value or its four bytes


def directory(entries: list[Entry], order: str = "<", claims: int = -1) -> bytes:
    """A directory and the place of the next, which is none; ``claims``: how many it says it has."""
    made = struct.pack(order + "H", len(entries) if claims < 0 else claims)
    for tag, kind, count, value in entries:
        if isinstance(value, int):
            short = kind == 3
            value = struct.pack(
                order + ("HH" if short else "L"), *([value, 0] if short else [value])
            )
        made += struct.pack(order + "HHL", tag, kind, count) + value
    return made + bytes(4)


def tiff_block(
    entries: list[Entry], order: str = "<", more: bytes = b"", claims: int = -1
) -> bytes:
    """EXIF without its name: a TIFF header, one directory, and what follows it."""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "L", 8) + directory(entries, order, claims) + more


def oriented(orientation: int, order: str = "<") -> bytes:
    """EXIF that says an orientation and nothing else."""
    return tiff_block([(ORIENTATION, 3, 1, orientation)], order)


def naming_twice(tags: int, orientation: int = 1) -> bytes:
    """Tags that each name the same 6,000 bytes, after a good orientation."""
    entries: list[Entry] = [(ORIENTATION, 3, 1, orientation)]
    entries += [(0x9286 + number, 7, 6000, 8) for number in range(tags)]
    return tiff_block(entries, more=bytes(8000))


def broken(orientation: int) -> dict[str, bytes]:
    """Blocks that are broken behind a good orientation."""
    good: Entry = (ORIENTATION, 3, 1, orientation)
    block = tiff_block([good])
    return {
        "claims-65535-tags": tiff_block([good], claims=65535),
        "cut-after-orientation": block[: 8 + 2 + 12],
        "names-twice": naming_twice(40, orientation),
        "value-out-of-file": tiff_block([good, (0x010F, 2, 4000, 1 << 30)]),
        "ifd-out-of-file": tiff_block([good, (EXIF_IFD, 4, 1, 1 << 30)]),
        "ifd-is-itself": tiff_block([good, (EXIF_IFD, 4, 1, 8)]),
        "next-is-itself": block[:-4] + struct.pack("<L", 8),
        "unknown-type": tiff_block([good, (0x9999, 77, 9, 9)]),
        "named-twice": b"Exif\0\0" + block,
    }


def unreadable() -> dict[str, bytes]:
    """Blocks that say nothing."""
    return {
        "empty": b"",
        "no-tiff": b"II*\1" + bytes(20),
        "text": b"this is no EXIF at all, but was put where EXIF goes",
        "directory-out-of-file": b"II*\0" + struct.pack("<L", 1 << 30) + bytes(8),
        "no-such-orientation": oriented(9),
        "orientation-of-text": tiff_block([(ORIENTATION, 2, 4, b"six\0")]),
    }


def xmp(orientation: int) -> bytes:
    """A packet as Lightroom writes it."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f'tiff:Orientation="{orientation}"/></rdf:RDF></x:xmpmeta>'
    ).encode()
