"""A client of a backend, ours or upstream's, and of the service: standard library only.

An address in; parsed answers and files out. It knows no model.
"""

import http.client
import ipaddress
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Optional, Union
from urllib.parse import quote, urlsplit

from runtime.errors import DepthError, InputError
from runtime.files import write_whole

TOKEN_VARIABLE = "DEPTH_TOKEN"
ANSWER_S, STEP = 120.0, 1 << 20
LONGEST_ANSWER = 256 << 20
LOCAL_NAMES = ("localhost",)

Body = Union[None, bytes, Iterator[bytes]]


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
        body = json.dumps(facts, allow_nan=False).encode()
        return _parsed(self.ask("POST", path, body, {"Content-Type": "application/json"})[1], path)

    def post_form(
        self, path: str, fields: Mapping[str, Any], photos: Sequence[tuple[str, Path]]
    ) -> Any:
        """POST a form with photos, each as its name and its file; else as ``get``."""
        body, headers = _form(fields, photos)
        return _parsed(self.ask("POST", path, body, headers)[1], path)

    def ask(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> tuple[Mapping[str, str], bytes]:
        """One request: the answer's headers and body; errors as for ``get``."""
        with self._asking(method, path, body, headers) as answer:
            data = answer.read(LONGEST_ANSWER + 1)
            if len(data) > LONGEST_ANSWER:
                raise ServerError(f"{self.address}{path}: an answer of over {LONGEST_ANSWER} bytes")
            return dict(answer.headers), data

    def save(self, path: str, file: Path) -> None:
        """The answer to GET as a file, written whole; errors as for ``get``, and OSError."""
        with self._asking("GET", path) as answer:
            write_whole(file, iter(lambda: answer.read(STEP), b""))

    @contextmanager
    def _asking(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Optional[Mapping[str, str]] = None,
    ) -> Iterator[http.client.HTTPResponse]:
        parts = self._parts
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
        sent = dict(headers or {})
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                # it may have answered before it has read all
                connection.request(method, parts.path.rstrip("/") + path, body, sent)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ServerError(_said(answer, f"{self.address}{path}"), answer.status)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, DepthError):
                raise
            what = str(error) or type(error).__name__
            raise ServerError(
                f"{self.address}: no answer ({what}); start it with `da3 backend`, or name another "
                "address"
            ) from None
        finally:
            connection.close()


def path_of_file(task_id: str, name: str) -> str:
    """Where a task's file is fetched."""
    return f"/task/{quote(task_id)}/files/{quote(name)}"


def _said(answer: http.client.HTTPResponse, where: str) -> str:
    """What a refusal says: ``detail`` of ours and of upstream's."""
    try:
        facts = json.loads(answer.read(STEP))
        detail = facts["detail"]
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return f"{where}: {answer.status} {answer.reason}"
    return detail if isinstance(detail, str) else f"{where}: {json.dumps(detail)[:500]}"


def _parsed(data: bytes, path: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise ServerError(f"{path}: an answer that is no JSON: {data[:80]!r}") from None


def _form(
    fields: Mapping[str, Any], photos: Sequence[tuple[str, Path]]
) -> tuple[Iterator[bytes], dict[str, str]]:
    """A multipart body, whose files are read as they are sent, and its headers."""
    border = uuid.uuid4().hex
    parts: list[tuple[bytes, Optional[Path]]] = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
        head = f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        parts.append((head.encode(), None))
    for name, photo in photos:
        quoted = name.replace("\\", "_").replace('"', "%22").replace("\r", "_").replace("\n", "_")
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="images"; filename="{quoted}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        parts.append((head.encode("utf-8", "replace"), photo))
    end = f"--{border}--\r\n".encode()
    length = sum(len(head) + (file.stat().st_size + 2 if file else 0) for head, file in parts)

    def blocks() -> Iterator[bytes]:
        for head, file in parts:
            yield head
            if file is not None:
                with file.open("rb") as data:
                    while block := data.read(STEP):
                        yield block
                yield b"\r\n"
        yield end

    return blocks(), {
        "Content-Type": f"multipart/form-data; boundary={border}",
        "Content-Length": str(length + len(end)),
    }
