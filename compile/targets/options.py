"""What can be told to the Neuron compilers. Plain values; no torch."""

from dataclasses import dataclass
from typing import Optional

from runtime.errors import InputError

# A cast mode of ``compile.numerics.MODES``: the fastest that its emulation finds within tolerance
# (docs/numerics.md has the table).
DEFAULT_CASTS = "all"
# Their names; compile.numerics.MODES says what each rounds.
CASTS = (
    "all",
    "matmult",
    "matmult-exact-transpose",
    "none",
    "all-fp16",
    "matmult-fp16",
    "matmult-fp16-exact-transpose",
)
# How a form is put to neuron-cc, in the order in which it is tried: the word for the command line,
# and the name that manifests have.
HYBRID = "hybrid"
ATTEMPTS = {
    "as-asked": "as asked",
    "fp32-cast": "--fp32-cast",
    "native-transposed-convolution": "native transposed convolution",
    "no-fast-relayout": "no-fast-relayout",
    "encoder-and-head-apart": "encoder and head apart",
    "native-resize": "native resize",
    HYBRID: HYBRID,
}
OPTLEVELS = (1, 2, 3)


@dataclass(frozen=True)
class NeuronOptions:
    """Options of ``torch.neuron.trace`` and neuron-cc that matter here.

    Args:
        casts: one of ``CASTS``.
        pipeline_cores: NeuronCores that one model is spread over.
        saturate_infinity: infinity becomes the largest float, which avoids NaN.
        fast_loading: uncompressed binary, loads faster and takes more room.
        float16_io: float16 instead of float32 between host and chip.
        timeout_s: of one subgraph's compilation; None waits.
        cpu_operators: let operators that the chip lacks run on the CPU.
        subgraphs: most parts on the chip that are accepted.
        minimum_segment_size: smaller parts go to the CPU; None: 1 for hybrid, whose convolution
            between two resizes is alone, else 2, torch-neuron's own.
        separate_weights: None decides by size.
        retries: whether to try the other forms when the compiler fails.
        attempts: names of those to try, in this order; none means all.
        optlevel: the compiler's ``-O``; None leaves its default.
        fresh: whether to forget what an earlier compile, cut short, has done.
    """

    casts: str = DEFAULT_CASTS
    pipeline_cores: int = 1
    saturate_infinity: bool = False
    fast_loading: bool = False
    float16_io: bool = False
    timeout_s: Optional[int] = None
    cpu_operators: bool = False
    subgraphs: int = 1
    minimum_segment_size: Optional[int] = None
    separate_weights: Optional[bool] = None
    retries: bool = True
    attempts: tuple[str, ...] = ()
    optlevel: Optional[int] = None
    fresh: bool = False

    def __post_init__(self) -> None:
        if self.casts not in CASTS:
            raise InputError(f"casts={self.casts!r}: use one of {', '.join(CASTS)}")
        if not 1 <= self.pipeline_cores <= 64:
            raise InputError(f"pipeline_cores={self.pipeline_cores}: an Inf1 takes 1 to 64")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise InputError(f"timeout_s={self.timeout_s}: give seconds above 0")
        if self.subgraphs < 1:
            raise InputError(f"subgraphs={self.subgraphs}: give 1 or more")
        if self.minimum_segment_size is not None and self.minimum_segment_size < 1:
            raise InputError(f"minimum_segment_size={self.minimum_segment_size}: give 1 or more")
        unknown = [name for name in self.attempts if name not in ATTEMPTS.values()]
        if unknown:
            raise InputError(f"attempts={unknown}: use some of {', '.join(ATTEMPTS.values())}")
        if self.optlevel is not None and self.optlevel not in OPTLEVELS:
            raise InputError(f"optlevel={self.optlevel}: use one of {OPTLEVELS}")
