"""Objects in S3 by their address, within a size.

``s3://bucket/key`` in, bytes out. Credentials, region and endpoint are boto3's own affair.
"""

from functools import lru_cache
from typing import Any

from runtime.errors import InputError, LimitError, StorageError
from runtime.optional import require

SCHEME = "s3://"
TIMEOUT_S = 10.0


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key.

    Raises:
        InputError: not of the form ``s3://bucket/key``.
    """
    bucket, slash, key = address[len(SCHEME) :].partition("/")
    if not (address.startswith(SCHEME) and bucket and slash and key):
        raise InputError(f"{address!r}: give s3://bucket/key")
    return bucket, key


def read_object(address: str, limit_bytes: int) -> bytes:
    """Read an object whole; its size is asked for first.

    Raises:
        InputError: an address that is none, or no such object.
        LimitError: it is larger than the limit.
        StorageError: the storage refuses or cannot be reached.
    """
    bucket, key = split_address(address)
    botocore = require("botocore.exceptions", "aws")
    client = _client()
    try:
        size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
        if size > limit_bytes:
            raise LimitError(f"{address}: {size:,} bytes, limit {limit_bytes:,}")
        # of a larger object that has come since, no more than the limit is read
        data: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read(limit_bytes + 1)
    except botocore.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            raise InputError(f"{address}: no such object") from None
        raise StorageError(f"{address}: the storage refuses ({error})") from None
    except botocore.BotoCoreError as error:
        raise StorageError(f"{address}: the storage cannot be reached ({error})") from None
    if len(data) > limit_bytes:
        raise LimitError(f"{address}: more than {limit_bytes:,} bytes")
    return data


@lru_cache(maxsize=1)
def _client() -> Any:
    config = require("botocore.config", "aws").Config(
        connect_timeout=TIMEOUT_S,
        read_timeout=TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": 3},
    )
    return require("boto3", "aws").client("s3", config=config)
