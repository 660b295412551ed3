"""A client of a backend, ours or upstream's, and of the service.

An address in; parsed answers and files out. It knows no model. httpx speaks HTTP, and sends photos
as it reads them.
"""

import contextlib
import ipaddress
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional
from urllib.parse import quote, urlsplit

from runtime.errors import DepthError, InputError
from runtime.files import write_whole
from runtime.optional import require

if TYPE_CHECKING:
    import httpx

TOKEN_VARIABLE = "DEPTH_TOKEN"
ANSWER_S, STEP = 120.0, 1 << 20
LONGEST_ANSWER = 256 << 20
LOCAL_NAMES = ("localhost",)
BYTES = "application/octet-stream"  # the server finds out by itself what a photo is


class ServerError(DepthError):
    """The other side refuses, or does not answer.

    Args:
        status: of its answer; 0: there was none.
    """

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


class Client:
    """One server.

    Args:
        address: ``http://host:port``, and a path if it is behind one.
        token: None: ``DEPTH_TOKEN`` of the environment.
    Raises:
        InputError: it is no such address.
    """

    def __init__(self, address: str, token: Optional[str] = None) -> None:
        parts = urlsplit(address)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise InputError(f"{address}: no address of a server; give http://HOST:PORT")
        self.address, self._parts = address.rstrip("/"), parts
        self._token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, and so may see this machine's files."""
        name = self._parts.hostname or ""
        try:
            return name in LOCAL_NAMES or ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def get(self, path: str) -> Any:
        """Parsed JSON of an address.

        Raises:
            ServerError: it refuses, or cannot be reached.
        """
        return _parsed(self.ask("GET", path)[1], path)

    def delete(self, path: str) -> Any:
        """DELETE; else as ``get``."""
        return _parsed(self.ask("DELETE", path)[1], path)

    def post(self, path: str, facts: Any) -> Any:
        """POST some JSON; else as ``get``."""
        return _parsed(self.ask("POST", path, **_json(facts))[1], path)

    def post_form(
        self, path: str, fields: Mapping[str, Any], photos: Sequence[tuple[str, Path]]
    ) -> Any:
        """POST a form with photos, each as its name and its file; else as ``get``."""
        texts = {name: v if isinstance(v, str) else _text(v) for name, v in fields.items()}
        files = [("images", (name, _Unopened(photo), BYTES)) for name, photo in photos]
        return _parsed(self.ask("POST", path, data=texts, files=files)[1], path)

    def ask(self, method: str, path: str, **sent: Any) -> tuple[Mapping[str, str], bytes]:
        """One request: the answer's headers and body; errors as for ``get``.

        Args:
            sent: httpx's names: ``content``, ``headers``, ``data``, ``files``.
        """
        with self._asking(method, path, **sent) as answer:
            data = bytearray()
            for block in answer.iter_bytes(STEP):
                data += block
                if len(data) > LONGEST_ANSWER:
                    raise ServerError(
                        f"{self.address}{path}: an answer of over {LONGEST_ANSWER} bytes"
                    )
            return answer.headers, bytes(data)

    def save(self, path: str, file: Path) -> None:
        """The answer to GET as a file, written whole; errors as for ``get``, and OSError."""
        with self._asking("GET", path) as answer:
            write_whole(file, answer.iter_bytes(STEP))

    @contextlib.contextmanager
    def _asking(self, method: str, path: str, **sent: Any) -> Iterator["httpx.Response"]:
        httpx = require("httpx", "da3")
        headers = dict(sent.pop("headers", {}))
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            # No proxy of the environment's: the address is what was asked for
            with (
                httpx.Client(timeout=ANSWER_S, trust_env=False) as client,
                client.stream(method, self.address + path, headers=headers, **sent) as answer,
            ):
                if answer.status_code >= 400:
                    raise ServerError(_said(answer), answer.status_code)
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = str(error) or type(error).__name__
            raise ServerError(
                f"{self.address}: no answer ({what}); start it with `da3 backend`, or name another "
                "address"
            ) from None


class _Unopened:
    """A file for httpx that is open while a block is read: thousands cannot be open at once."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, 0

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + (self._path.stat().st_size if whence == os.SEEK_END else 0)
        return self._place

    def read(self, size: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(self._place)
            block = file.read(size)
        self._place += len(block)
        return block


def path_of_file(task_id: str, name: str) -> str:
    """Where a task's file is fetched."""
    return f"/task/{quote(task_id)}/files/{quote(name)}"


def _said(answer: "httpx.Response") -> str:
    """What a refusal says: ``detail`` of ours and of upstream's."""
    where = f"{answer.url}"
    data = next(answer.iter_bytes(STEP), b"")
    try:
        detail = json.loads(data)["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{where}: {answer.status_code} {answer.reason_phrase}"
    return detail if isinstance(detail, str) else f"{where}: {json.dumps(detail)[:500]}"


def _parsed(data: bytes, path: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise ServerError(f"{path}: an answer that is no JSON: {data[:80]!r}") from None


def _text(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _json(facts: Any) -> dict[str, Any]:
    return {"content": _text(facts).encode(), "headers": {"Content-Type": "application/json"}}
