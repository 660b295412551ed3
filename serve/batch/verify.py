"""Every input has exactly one result that can be read, or a reason: all of it is read again."""

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from runtime.errors import DepthError
from runtime.storage import Storage
from serve.batch.job_folder import JobFolder
from serve.batch.plan import the_plan
from serve.batch.records import DONE, Record
from serve.batch.totals import Totals

RESULT_BYTES = 4 << 30


@dataclass(frozen=True)
class Fault:
    """What is wrong with an input's result."""

    name: str
    problem: str


def verify_job(folder: JobFolder) -> Iterator[Fault]:
    """Read all results of a job.

    Yields:
        what is wrong; nothing if nothing is.
    Raises:
        InputError: no job there, or its plan or records are damaged.
        StorageError: they cannot be read.
    """
    totals = Totals(folder, the_plan(folder))
    try:
        for name, record in totals.photos():
            if record is None:
                yield Fault(name, "no record: the job is not finished")
            elif record.status == DONE:
                # results of two inputs never share a name: no format's suffix is a photo's
                for result, digest in zip(record.outputs, record.digests):
                    problem = problem_with(folder.output, result, digest, record)
                    if problem:
                        yield Fault(name, f"{result}: {problem}")
    finally:
        totals.close()


def problem_with(output: Storage, name: str, digest: str, record: Record) -> str:
    """What is wrong with one file; empty if it is as the record says."""
    try:
        data = output.read(name, RESULT_BYTES)
        if hashlib.sha256(data).hexdigest() != digest:
            return "its bytes are not those that were written"
        expected = (record.height, record.width)
        if name.endswith(".npz"):
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                shapes = {arrays[key].shape for key in arrays.files if key != "meta"}
            return "" if shapes == {expected} else f"holds {shapes}, expected {expected}"
        if name.endswith((".png", ".tiff")):
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                found = (image.height, image.width)
            return "" if found == expected else f"is {found}, expected {expected}"
        return ""
    except (DepthError, OSError, ValueError, KeyError, SyntaxError, zipfile.BadZipFile) as error:
        return str(error)
