"""What the encoder of a scene's model says of each view, heard while it runs; for descriptors."""

from collections.abc import Callable
from typing import Any

from depth_anything_3.any_view import AnyViewTransformer


def hear_encoder(model: Any, told: Callable[[Any], object]) -> None:
    """Have an eager model's any-view encoder tell the tokens (V, 1 + P, C) of its local blocks."""
    for module in model.modules():
        if isinstance(module, AnyViewTransformer):
            _hear(module, told)


def _hear(encoder: Any, told: Callable[[Any], object]) -> None:
    encode = encoder.encode_local

    def encode_and_tell(*given: Any, **named: Any) -> Any:
        tokens, kept = encode(*given, **named)
        told(tokens)
        return tokens, kept

    encoder.encode_local = encode_and_tell
