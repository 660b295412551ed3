"""Inflate a bounded number of bytes, in pieces: no copy of the whole input or output."""

from collections.abc import Iterable, Iterator

from isal import isal_zlib

PIECE_IN, PIECE_OUT = 1 << 18, 1 << 22  # bytes


def inflated(packed: Iterable[memoryview], most: int) -> Iterator[bytes]:
    """The first ``most`` bytes of what was deflated, or fewer if there are no more.

    Raises:
        zlib.error: it was not deflated, or is damaged.
    """
    inflate = isal_zlib.decompressobj()
    for one in packed:
        for start in range(0, len(one), PIECE_IN):
            rest: bytes = bytes(one[start : start + PIECE_IN])
            while most > 0:
                wanted = min(most, PIECE_OUT)
                some = inflate.decompress(rest, wanted)
                most -= len(some)
                if some:
                    yield some
                rest = inflate.unconsumed_tail
                if not rest and len(some) < wanted:
                    break
            if most <= 0:
                return
