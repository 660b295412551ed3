"""One photo to an endpoint, or one that lies in S3, as a call; the answer as facts. Sends nothing.

The same call reaches SageMaker and, by its address, any server that answers
``POST /endpoints/<name>/invocations``, such as this service on one's own machine.
"""

from pathlib import Path
from typing import Any, Optional

from runtime.errors import InputError
from serve.sagemaker.call import Call
from serve.sagemaker.endpoint import check_name
from serve.sagemaker.instances import REALTIME_MB

BODY_BYTES = REALTIME_MB << 20
ATTRIBUTES_MAX = 1024
TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".json": "application/json",
}


def invoke_call(
    name: str,
    photo: Path,
    content_type: Optional[str] = None,
    accept: Optional[str] = None,
    attributes: Optional[str] = None,
) -> Call:
    """The call that sends a file and waits for its answer.

    Args:
        content_type: of the file; by its suffix, if not given.
        accept: media type of the answer; the service's own choice, if not given.
        attributes: ``key=value`` pairs with semicolons between them.
    Raises:
        InputError: no such file, one over SageMaker's 6,291,456 bytes, or options that do not fit.
    """
    shared = _shared(name, str(photo), content_type, accept, attributes)
    try:
        size = photo.stat().st_size
    except OSError as error:
        raise InputError(f"{photo}: {error.strerror}; give a photo's file") from None
    if not 0 < size <= BODY_BYTES:
        raise InputError(
            f"{photo}: {size:,} bytes, a real-time endpoint takes 1 to {BODY_BYTES:,}; make it "
            "smaller, or use an asynchronous endpoint and --input"
        )
    body = photo.read_bytes()
    parameters = {**shared, "Body": body}
    return Call(
        step=f"send {photo} to {name}",
        service="sagemaker-runtime",
        operation="invoke_endpoint",
        parameters=parameters,
    )


def invoke_async_call(
    name: str,
    address: str,
    content_type: Optional[str] = None,
    accept: Optional[str] = None,
    attributes: Optional[str] = None,
) -> Call:
    """The call that queues a photo in S3, ``s3://bucket/key``, on an asynchronous endpoint.

    Raises:
        InputError: options that do not fit.
    """
    if not address.startswith("s3://"):
        raise InputError(f"input {address!r}: give s3://bucket/key; a local photo is --photo")
    shared = _shared(name, address, content_type, accept, attributes)
    parameters = {**shared, "InputLocation": address}
    return Call(
        step=f"queue {address}",
        service="sagemaker-runtime",
        operation="invoke_endpoint_async",
        parameters=parameters,
    )


def without_body(call: Call) -> Call:
    """The same with the number of bytes in the place of the body, to be printed."""
    body = call.parameters.get("Body")
    if body is None:
        return call
    shown = {**call.parameters, "Body": f"({len(body)} bytes)"}
    return Call(step=call.step, service=call.service, operation=call.operation, parameters=shown)


def facts_of(answer: dict[str, Any], file: Path) -> dict[str, Any]:
    """What to print of an answer that was written to a file."""
    return {
        "file": str(file),
        "bytes": len(answer["Body"]),
        "content_type": answer.get("ContentType"),
        "custom_attributes": answer.get("CustomAttributes"),
        "variant": answer.get("InvokedProductionVariant"),
    }


def _shared(
    name: str,
    source: str,
    content_type: Optional[str],
    accept: Optional[str],
    attributes: Optional[str],
) -> dict[str, Any]:
    check_name(name)
    suffix = Path(source).suffix.lower()
    if content_type is None and suffix not in TYPES:
        raise InputError(f"{source}: cannot tell what it is by its name; give --content-type")
    visible = attributes is None or all(" " <= letter <= "~" for letter in attributes)
    if not visible or len(attributes or "") > ATTRIBUTES_MAX:
        raise InputError(
            f"attributes {attributes!r}: at most {ATTRIBUTES_MAX} letters of plain ASCII, such as "
            "'size=model;png=color'"
        )
    chosen = {
        "EndpointName": name,
        "ContentType": content_type or TYPES[suffix],
        "Accept": accept,
        "CustomAttributes": attributes,
    }
    return {key: value for key, value in chosen.items() if value}
