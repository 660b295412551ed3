"""The errors this project raises on purpose. The class says whose fault it is."""


class DepthError(Exception):
    """Base of all: its text is one sentence for the user, with no traceback needed."""


class InputError(DepthError, ValueError):
    """What the caller gave cannot be used: a photo, a size, an option."""


class LimitError(InputError):
    """What the caller gave is larger than a stated limit."""


class ArtifactError(DepthError):
    """A compiled artifact is missing, damaged, of another version or not what it says."""


class CheckpointError(DepthError):
    """Weights are missing, damaged or do not fit the model."""


class CompileError(DepthError):
    """A model could not be compiled, or its graph does not equal the model."""


class MissingDependency(DepthError, ImportError):
    """An optional package is needed and not installed."""


class DeviceError(DepthError):
    """An accelerator is missing, taken, lost, or failed while it computed."""


class StorageError(DepthError):
    """Objects could not be read or written: no permission, no connection, no answer."""


class StorageGone(StorageError):
    """A storage that takes or gives nothing any more: full, read-only, not reached."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, to be quoted in another's."""
    return (str(error).strip().splitlines() or ["no message"])[0]
