"""python -m serve: says that the service is not part of this version."""

import sys


def main() -> int:
    """Print what to use instead; returns the exit status."""
    print(
        "the HTTP service is not part of this version; use `make inference` for folders of photos, "
        "or runtime.predictor.Predictor from Python",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
