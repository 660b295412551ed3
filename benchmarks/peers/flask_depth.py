"""The same artifact behind plain Flask and gunicorn, as tutorials have it: a worker, four threads.

Started by ``benchmarks.load`` under gunicorn; ``ARTIFACT`` in the environment is the folder.
"""

import io
import os
import threading
from pathlib import Path

import numpy as np
from flask import Flask, Response, request

from runtime.artifact.folder import read_artifact
from runtime.photo.decode import read_photo
from runtime.predict.predictor import Predictor


def application() -> Flask:
    """Decode, predict, encode; one photo at a time in the network."""
    app, lock = Flask(__name__), threading.Lock()
    predictor = Predictor([read_artifact(Path(os.environ["ARTIFACT"]))], "cpu")
    predictor.warm_up()

    @app.get("/ping")
    def ping() -> str:
        return "ok"

    @app.post("/predict")
    def predict() -> Response:
        rgb = read_photo(request.files["image"].read())
        with lock:
            depth = predictor(rgb).depth
        buffer = io.BytesIO()
        np.save(buffer, depth)
        return Response(buffer.getvalue(), content_type="application/x-npy")

    return app
