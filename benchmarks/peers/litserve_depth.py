"""The same artifact behind LitServe, as its documentation has it: one worker, a photo a request.

Started by ``benchmarks.load`` with LitServe on its path. Arguments: the artifact's folder, a port.
"""

import io
import sys
from pathlib import Path

import litserve
import numpy as np
from fastapi import Request, Response

from runtime.artifact.folder import read_artifact
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor


class DepthAPI(litserve.LitAPI):
    """Decode, predict, encode, one after the other in the worker's process."""

    def setup(self, device: str) -> None:
        """Load the artifact."""
        self.predictor = Predictor([read_artifact(FOLDER)], "cpu")
        self.predictor.warm_up()

    def decode_request(self, request: Request) -> np.ndarray:
        """A form's file to RGB."""
        return read_photo(request["image"].file.read())

    def predict(self, rgb: np.ndarray) -> np.ndarray:
        """RGB to depth on the photo's own grid."""
        return self.predictor(rgb).depth

    def encode_response(self, depth: np.ndarray) -> Response:
        """NumPy's format."""
        buffer = io.BytesIO()
        np.save(buffer, depth)
        return Response(buffer.getvalue(), media_type="application/x-npy")


if __name__ == "__main__":
    FOLDER = Path(sys.argv[1])
    server = litserve.LitServer(DepthAPI(), accelerator="cpu", timeout=55)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False)
else:
    FOLDER = Path(sys.argv[1])  # LitServe's workers import this file anew
