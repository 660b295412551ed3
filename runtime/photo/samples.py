"""Packed samples of any depth to bytes.

Rows of bytes in, as a file packs them; uint8 out. More than 8 bits keep their upper 8, as 16-bit
colour does; fewer are spread over 0 to 255.
"""

import numpy as np


def fields(rows: np.ndarray, bits: int, count: int, upper: bool = True) -> np.ndarray:
    """Samples of up to 16 bits, packed without gaps, the first in the highest bits.

    Args:
        rows: uint8 (n, bytes of a row).
        count: samples of a row.
        upper: the upper 8 bits of wider samples; False is for samples of up to 8 bits only.
    Returns:
        uint8 (n, count); samples of fewer than 8 bits as they are.
    """
    take = min(bits, 8)
    if bits == 8:
        return rows[:, :count]
    groups = -(-count // 8)  # eight samples fill ``bits`` bytes
    padded = np.zeros((len(rows), groups * bits + 1), np.uint8)
    used = min(rows.shape[1], groups * bits)
    padded[:, :used] = rows[:, :used]
    found = np.empty((len(rows), groups, 8), np.uint8)
    for sample in range(8):
        byte, offset = divmod(sample * bits, 8)
        first = padded[:, byte : byte + (groups - 1) * bits + 1 : bits]
        if offset + take <= 8:
            found[:, :, sample] = first >> (8 - take - offset)
        else:
            second = padded[:, byte + 1 : byte + 2 + (groups - 1) * bits : bits]
            both = first.astype(np.uint16) << 8 | second
            found[:, :, sample] = (both >> (16 - take - offset)).astype(np.uint8)
    found &= (1 << take) - 1
    return found.reshape(len(rows), -1)[:, :count]


def spread(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples of fewer than 8 bits over 0 to 255: uint8 in and out."""
    return samples if bits >= 8 else scale_of(bits)[samples]


def scale_of(bits: int) -> np.ndarray:
    """What each sample of this many bits shows: uint8 (2 ** bits,)."""
    if bits >= 8:
        return (np.arange(1 << bits) >> (bits - 8)).astype(np.uint8)
    return np.rint(np.arange(1 << bits) * 255 / ((1 << bits) - 1)).astype(np.uint8)
