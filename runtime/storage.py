"""Where photos come from and results go to: a folder, or a prefix in S3.

Names within it in; bytes, sizes and tags out. What is written is seen whole or not at all.
Credentials and region are boto3's own affair.
"""

import mimetypes
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from runtime.errors import InputError, LimitError, StorageError, StorageGone, first_line
from runtime.files import is_gone, read_whole, reason, sweep, write_whole
from runtime.names import below, check_plain
from runtime.optional import require
from runtime.walk import walk

SCHEME = "s3://"
SCRATCH = ".partial"  # folder of what is being written, below a folder's root; never listed
# What mimetypes does not know
MEDIA_TYPES = {
    ".npz": "application/x-npz",
    ".parquet": "application/vnd.apache.parquet",
    ".exr": "image/x-exr",
    ".pfm": "image/x-portable-floatmap",
    ".glb": "model/gltf-binary",
    ".ply": "application/x-ply",
}
MAX_KEY_BYTES = 1024
NO_LONGER_ALLOWED = (
    "ExpiredToken",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
CONNECT_S, READ_S, ATTEMPTS, LONGEST_PAUSE_S = 10.0, 30.0, 8, 20.0


@dataclass(frozen=True)
class Entry:
    """One object. ``tag`` differs when its content does: S3's ETag, or size and time of a file."""

    name: str
    size: int
    tag: str


@dataclass(frozen=True)
class S3Options:
    """How S3 is talked to.

    Args:
        endpoint_url: of another service that speaks S3.
        path_style: buckets in the path, not in the host's name.
        requester_pays: who reads pays.
        kms_key: with which what is written is encrypted; ``aws`` is the account's own.
    """

    endpoint_url: Optional[str] = None
    path_style: bool = False
    requester_pays: bool = False
    kms_key: Optional[str] = None


class Storage(ABC):
    """Objects by name, below one address."""

    address: str

    @abstractmethod
    def below(self, start: str) -> Iterator[Entry]:
        """Objects whose names begin so, ``folder/``, by name; streamed.

        Raises:
            StorageError: the storage refuses or cannot be reached.
        """

    def list(self) -> Iterator[Entry]:
        """All objects, by name; streamed."""
        return self.below("")

    @abstractmethod
    def stat(self, name: str) -> Optional[Entry]:
        """One object; None if there is none.

        Raises:
            StorageError: the storage refuses or cannot be reached.
        """

    @abstractmethod
    def read(self, name: str, limit_bytes: int) -> bytes:
        """An object, whole; its size is known before it is read.

        Raises:
            InputError: there is none.
            LimitError: it is larger.
            StorageError: the storage refuses or cannot be reached.
        """

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Make or replace an object, at once.

        Raises:
            InputError: the name is not plain, or too long.
            StorageError: the storage refuses; StorageGone if it takes nothing any more.
        """

    @abstractmethod
    def sweep(self) -> None:
        """Remove what ended processes of this machine left half written, and what is a day old."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object, if it is there.

        Raises:
            InputError: the name is not plain, or too long.
            StorageError: the storage refuses or cannot be reached.
        """


class Folder(Storage):
    """A folder and those below it, links followed; hidden ones are left out."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, str(root)

    def below(self, start: str) -> Iterator[Entry]:
        folder = self.root / start
        if _there(folder):
            for file in walk(folder, refused=_refused):
                found = self.stat(file.relative_to(self.root).as_posix())
                if found is not None:
                    yield found

    def stat(self, name: str) -> Optional[Entry]:
        file = self.root / name
        try:
            found = file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise StorageError(f"{file}: cannot be read ({reason(error)})") from None
        return Entry(name, found.st_size, f"{found.st_size}-{found.st_mtime_ns}")

    def read(self, name: str, limit_bytes: int) -> bytes:
        return read_whole(self.root / name, limit_bytes)

    def write(self, name: str, data: bytes) -> None:
        file = below(self.root, name)
        try:
            write_whole(file, data, self.root / SCRATCH)
        except (OSError, ValueError) as error:
            kind = StorageGone if is_gone(error) else StorageError
            raise kind(f"{file}: cannot be written ({reason(error)})") from None

    def sweep(self) -> None:
        sweep(self.root / SCRATCH)

    def delete(self, name: str) -> None:
        file = below(self.root, name)
        try:
            file.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            raise StorageError(f"{file}: cannot be removed ({reason(error)})") from None


class S3Prefix(Storage):
    """Objects of a bucket whose keys begin with a prefix."""

    def __init__(self, bucket: str, prefix: str = "", options: S3Options = S3Options()) -> None:
        self.bucket, self.options = bucket, options
        self.prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        self.address = f"{SCHEME}{bucket}/{self.prefix}"
        self._payer = {"RequestPayer": "requester"} if options.requester_pays else {}
        self._encryption: dict[str, str] = {}
        if options.kms_key:
            self._encryption = {"ServerSideEncryption": "aws:kms"}
            if options.kms_key != "aws":
                self._encryption["SSEKMSKeyId"] = options.kms_key

    def below(self, start: str) -> Iterator[Entry]:
        with _refusals(self.address):
            pages = _client(self.options).get_paginator("list_objects_v2")
            where = {"Bucket": self.bucket, "Prefix": self.prefix + start, **self._payer}
            for page in pages.paginate(**where):
                for one in page.get("Contents", ()):
                    name = one["Key"][len(self.prefix) :]
                    if name and not name.endswith("/"):
                        yield Entry(name, one["Size"], one["ETag"].strip('"'))

    def stat(self, name: str) -> Optional[Entry]:
        try:
            with _refusals(self.address + name):
                found = _client(self.options).head_object(**self._key(name), **self._payer)
        except InputError:
            return None
        return Entry(name, found["ContentLength"], found["ETag"].strip('"'))

    def read(self, name: str, limit_bytes: int) -> bytes:
        tenacity = require("tenacity", "aws")
        again = tenacity.Retrying(  # boto3 repeats requests, but not bodies that break off
            retry=tenacity.retry_if_exception_type(_BrokenOff),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_random_exponential(max=LONGEST_PAUSE_S),
            reraise=True,
        )
        data: bytes = again(self._read_once, name, limit_bytes)
        return data

    def _read_once(self, name: str, limit_bytes: int) -> bytes:
        address = self.address + name
        with _refusals(address):
            found = _client(self.options).get_object(**self._key(name), **self._payer)
        with found["Body"] as body, _refusals(address, _BrokenOff):
            if found["ContentLength"] > limit_bytes:
                size = f"{found['ContentLength']:,} bytes, limit {limit_bytes:,}"
                raise LimitError(f"{address}: {size}")
            data: bytes = body.read()
        return data

    def write(self, name: str, data: bytes) -> None:
        check_plain(name)
        if len((self.prefix + name).encode()) > MAX_KEY_BYTES:
            raise InputError(f"{name[:40]!r}...: over {MAX_KEY_BYTES:,} bytes with its prefix")
        try:
            with _refusals(self.address + name):
                _client(self.options).put_object(
                    **self._key(name),
                    Body=data,
                    ContentType=media_type(name),
                    **self._encryption,
                    **self._payer,
                )
        except InputError as error:  # 404: of what is written, the bucket
            raise StorageGone(f"{error}: no such bucket") from None

    def sweep(self) -> None:
        pass  # what is not put whole is not there

    def delete(self, name: str) -> None:
        check_plain(name)
        with _refusals(self.address + name):
            _client(self.options).delete_object(**self._key(name), **self._payer)

    def _key(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + name}


def split_address(address: str) -> tuple[str, str]:
    """Bucket and key.

    Raises:
        InputError: not of the form ``s3://bucket/key``.
    """
    bucket, slash, key = address[len(SCHEME) :].partition("/")
    if not (address.startswith(SCHEME) and bucket and slash and key):
        raise InputError(f"{address!r}: give s3://bucket/key")
    return bucket, key


def open_storage(address: str, options: S3Options = S3Options()) -> Storage:
    """A folder, or ``s3://bucket/prefix``.

    Raises:
        InputError: no bucket is named.
    """
    if not address.startswith(SCHEME):
        return Folder(Path(address))
    bucket, _, prefix = address[len(SCHEME) :].partition("/")
    if not bucket:
        raise InputError(f"{address!r}: give s3://bucket/prefix")
    return S3Prefix(bucket, prefix, options)


def read_object(address: str, limit_bytes: int, options: S3Options = S3Options()) -> bytes:
    """Read ``s3://bucket/key`` whole; errors as for ``Storage.read``."""
    bucket, key = split_address(address)
    return S3Prefix(bucket, "", options).read(key, limit_bytes)


def media_type(name: str) -> str:
    """What a browser is told that an object of this name holds."""
    suffix = PurePosixPath(name).suffix.lower()
    return MEDIA_TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def _there(folder: Path) -> bool:
    try:
        return folder.is_dir()
    except (OSError, ValueError) as error:
        raise StorageError(f"{folder}: cannot be read ({reason(error)})") from None


def _refused(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else somebody removed it just now
        raise StorageError(f"{error.filename}: cannot be read ({reason(error)})") from None


class _BrokenOff(StorageError):
    """An answer began and did not end."""


@contextmanager
def _refusals(address: str, unreachable: type[StorageError] = StorageGone) -> Iterator[None]:
    """boto3's exceptions in our words; ``unreachable``: after all attempts, nobody answers."""
    botocore = require("botocore.exceptions", "aws")
    http = require("urllib3.exceptions", "aws")
    try:
        yield
    except botocore.ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 404:
            raise InputError(f"{address}: no such object") from None
        code = error.response.get("Error", {}).get("Code")
        kind = StorageGone if code in NO_LONGER_ALLOWED else StorageError
        raise kind(f"{address}: the storage refuses ({error})") from None
    except botocore.ParamValidationError as error:
        raise StorageError(f"{address}: nothing can be called so ({first_line(error)})") from None
    except (botocore.BotoCoreError, http.HTTPError, OSError) as error:
        raise unreachable(f"{address}: the storage cannot be reached ({error})") from None


@lru_cache(maxsize=8)
def _client(options: S3Options) -> Any:
    config = require("botocore.config", "aws").Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=64,
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},  # with jitter
        s3={"addressing_style": "path"} if options.path_style else None,
    )
    client = require("boto3", "aws").client
    return client("s3", endpoint_url=options.endpoint_url, config=config)
