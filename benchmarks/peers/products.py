"""Times matrix products of float32, bfloat16 and int8 in torch: what this processor can do at most.

Started by ``benchmarks.limit`` in an environment of its own, with current torch: 1.13's library is
of 2020. A line in is a number of repetitions, a line out the best rate of each.
"""

import json
import sys
import time

import torch


def rate(runs, flops: int, times: int) -> float:
    """Operations a second, in the fastest run of the fastest way."""
    taken = []
    for run in runs:
        run()  # warm
        for _ in range(times):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return flops / min(taken)


def products(rows: int, inner: int, columns: int) -> dict:
    """A product in each precision, and the ways to compute it: float32 by MKL and by oneDNN."""
    left, right = torch.randn(rows, inner), torch.randn(columns, inner)
    low_left, low_right = left.bfloat16(), right.bfloat16()
    int_left = torch.randint(-128, 127, (rows, inner), dtype=torch.int8)
    int_right = torch.randint(-128, 127, (inner, columns), dtype=torch.int8)
    linear = torch.nn.functional.linear
    blocked_left, blocked_right = left.to_mkldnn(), right.to_mkldnn()
    return {
        "f32": (lambda: linear(left, right), lambda: linear(blocked_left, blocked_right)),
        "bf16": (lambda: linear(low_left, low_right),),
        "int8": (lambda: torch._int_mm(int_left, int_right),),
    }


def main(threads: str, *shapes: str) -> None:
    """Make them, then answer."""
    torch.set_num_threads(int(threads))
    made = {shape: products(*map(int, shape.split("x"))) for shape in shapes}
    print(json.dumps({"versions": {"torch": torch.__version__}}), flush=True)
    for line in sys.stdin:
        rates = {}
        for shape, runs in made.items():
            rows, inner, columns = map(int, shape.split("x"))
            flops = 2 * rows * inner * columns
            rates[shape] = {name: rate(ways, flops, int(line)) for name, ways in runs.items()}
        print(json.dumps({"rates": rates}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
