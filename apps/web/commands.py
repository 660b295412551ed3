"""``da3 backend``, ``da3 gallery`` and ``da3 gradio``: which of them it is."""

import argparse

from apps.web.options import BACKEND, GALLERY


def run_web(args: argparse.Namespace) -> int:
    """Do one of the three; what it needs is imported here. Returns the exit status."""
    if args.command == BACKEND:
        from apps.web.backend import run_backend

        return run_backend(args)
    if args.command == GALLERY:
        from apps.web.gallery_server import run_gallery

        return run_gallery(args)
    from apps.web.gradio_door import run_gradio

    return run_gradio(args)
