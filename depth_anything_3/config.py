"""The models of Depth Anything 3: seven networks, three with newer weights too. Numbers only."""

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class DA3Spec:
    """One network: its encoder, where it is tapped, and its heads.

    ``alternate_from`` is the first block that comes after the camera tokens; from there on, odd
    blocks look across views. None: one view, a plain encoder, and a head that also finds sky.
    """

    encoder: str
    taps: tuple[int, int, int, int]
    features: int
    out_channels: tuple[int, int, int, int]
    alternate_from: Optional[int] = None
    gaussians: bool = False

    @property
    def any_view(self) -> bool:
        """True if the network takes several views of one scene and finds their cameras."""
        return self.alternate_from is not None


SMALL, BASE = (48, 96, 192, 384), (96, 192, 384, 768)
LARGE = (256, 512, 1024, 1024)
ALTERNATING_TAPS = (5, 7, 9, 11)

NETWORKS = {
    "da3-small": DA3Spec(
        encoder="vits", taps=ALTERNATING_TAPS, features=64, out_channels=SMALL, alternate_from=4
    ),
    "da3-base": DA3Spec(
        encoder="vitb", taps=ALTERNATING_TAPS, features=128, out_channels=BASE, alternate_from=4
    ),
    "da3-large": DA3Spec(
        encoder="vitl", taps=(11, 15, 19, 23), features=256, out_channels=LARGE, alternate_from=8
    ),
    "da3-giant": DA3Spec(
        encoder="vitg",
        taps=(19, 27, 33, 39),
        features=256,
        out_channels=LARGE,
        alternate_from=13,
        gaussians=True,
    ),
    "da3mono-large": DA3Spec(
        encoder="vitl", taps=(4, 11, 17, 23), features=256, out_channels=LARGE
    ),
    "da3metric-large": DA3Spec(
        encoder="vitl", taps=(4, 11, 17, 23), features=256, out_channels=LARGE
    ),
}
METRIC = "da3metric-large"  # relative until multiplied by a focal length
# Two networks in one checkpoint: the first's depth is scaled to the second's metres.
NESTED = {"da3nested-giant-large": ("da3-giant", METRIC)}
# Weights that upstream trained again after a mistake, and recommends: the same networks.
RETRAINED = {name: f"{name}-1.1" for name in ("da3-large", "da3-giant", "da3nested-giant-large")}
NETWORKS.update({new: NETWORKS[old] for old, new in RETRAINED.items() if old in NETWORKS})
NESTED.update({new: NESTED[old] for old, new in RETRAINED.items() if old in NESTED})
NAMES = (*NETWORKS, *NESTED)
# Of the official weights.
FREE = ("da3-small", "da3-base", "da3mono-large", METRIC)
LICENCES = {name: "Apache-2.0" if name in FREE else "CC-BY-NC-4.0" for name in NAMES}
