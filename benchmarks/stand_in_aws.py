"""moto's server on loopback, empty. What it holds belongs to the process, not to one server."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.optional import require

# What boto3 asks for before it talks to anybody
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def empty_aws() -> Iterator[str]:
    """Yields its address.

    Raises:
        MissingDependency: moto is not installed.
    """
    server = require("moto.server", "dev").ThreadedMotoServer(
        ip_address="127.0.0.1", port=0, verbose=False
    )
    server.start()
    try:
        address = "http://{}:{}".format(*server.get_host_and_port())
        urllib.request.urlopen(f"{address}/moto-api/reset", data=b"").close()
        yield address
    finally:
        server.stop()
