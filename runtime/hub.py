"""Where weights are: on this machine, or on the Hugging Face Hub.

Names of a model, of its file and of its repository in; the path of a whole file out. Which models
there are is not known here, nothing is loaded, and no partial download is ever at a final path.
"""

import json
import os
import re
import shutil
from pathlib import Path, PurePath
from typing import Any, Optional

from runtime import shipped
from runtime.errors import CheckpointError, first_line
from runtime.files import sha256_of, write_whole
from runtime.optional import require

FOLDER = Path("checkpoints")
FOLDERS_BY_MODEL = Path("models")  # models/<name>/: each model's own folder
FOLDER_VARIABLE = "DEPTH_CHECKPOINT_DIR"
WEIGHTS = "model.safetensors"  # what repositories on the Hub call them, if they have no own name
SHA256 = re.compile(r"[0-9a-f]{64}")


def weight_places(name: str, file: str) -> list[Path]:
    """Where a model's weights may be on this machine, in the order in which they are looked for.

    Args:
        name: of the model, as ``vits``.
        file: its path within ``checkpoints/``, as ``depth_anything_v2_vits.pth`` or
            ``da3-small/model.safetensors``. In ``models/<name>/`` its last part counts, or
            ``model.safetensors``.
    """
    own = FOLDERS_BY_MODEL / name
    places = [FOLDER / file, own / PurePath(file).name, own / WEIGHTS]
    if os.environ.get(FOLDER_VARIABLE):
        places.append(Path(os.environ[FOLDER_VARIABLE]) / file)
    places.append(shipped.CHECKPOINTS / file)  # demo's, however this package was installed
    return list(dict.fromkeys(places))


def find_weights(name: str, file: str) -> Optional[Path]:
    """The first of ``weight_places`` that is there."""
    return next((place for place in weight_places(name, file) if place.is_file()), None)


def fetch_weights(repo: str, file: str, licence: str, folder: Path = FOLDER) -> Path:
    """Download weights into a folder, check them and write down what they are.

    ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are honoured. Until size and, if the server names it,
    sha256 are right, the file stays in a hidden folder beside its place, from which an interrupted
    download goes on. ``<file>.json`` beside it then says where it came from.

    Args:
        repo: on the Hub, as ``depth-anything/DA3-SMALL``.
        file: its path within ``folder``; its last part is its name in ``repo``.
    Raises:
        CheckpointError: it cannot be reached, or arrives damaged.
    """
    hub = require("huggingface_hub", "torch")
    target, remote = folder / file, PurePath(file).name
    waiting = target.with_name(f".fetching-{remote}")
    try:
        told = hub.get_hf_file_metadata(hub.hf_hub_url(repo, remote))
        fresh = Path(hub.hf_hub_download(repo, remote, local_dir=waiting))
    except Exception as error:  # the hub raises a dozen unrelated classes; the message names it
        raise _unreachable(repo, remote, error) from error
    size, digest = fresh.stat().st_size, sha256_of(fresh)
    expected = told.etag if told.etag and SHA256.fullmatch(told.etag) else digest
    if (told.size or size) != size or expected != digest:
        shutil.rmtree(waiting)
        raise CheckpointError(
            f"{target}: arrived as {size} bytes with sha256 {digest}, expected {told.size} and "
            f"{expected}; removed, fetch it again"
        )
    facts = {
        "repo": repo,
        "revision": told.commit_hash,
        "bytes": size,
        "sha256": digest,
        "licence": licence,
    }
    note = json.dumps(facts, indent=2) + "\n"
    write_whole(target.with_name(target.name + ".json"), note.encode())
    fresh.replace(target)
    shutil.rmtree(waiting, ignore_errors=True)
    return target


def fetch_to_cache(repo: str, remote: str, **options: Any) -> Path:
    """The path of a repository's file in Hugging Face's own cache; downloaded if it is not there.

    Args:
        options: of ``hf_hub_download``: cache_dir, force_download, local_files_only, revision,
            token.
    Raises:
        CheckpointError: it cannot be reached, or what was downloaded is not what the server named.
    """
    hub = require("huggingface_hub", "torch")
    where = {name: options[name] for name in ("cache_dir", "revision") if name in options}
    try:
        before = hub.try_to_load_from_cache(repo, remote, **where)
        file = Path(hub.hf_hub_download(repo, remote, **options))
    except Exception as error:  # likewise
        raise _unreachable(repo, remote, error) from error
    blob = file.resolve()  # the cache names large files by their sha256
    fresh = options.get("force_download") or str(file) != before
    if fresh and SHA256.fullmatch(blob.name) and sha256_of(blob) != blob.name:
        file.unlink()
        blob.unlink()
        raise CheckpointError(f"{repo}: {remote} arrived damaged; removed, fetch it again")
    return file


def _unreachable(repo: str, remote: str, error: Exception) -> CheckpointError:
    reason = f"{type(error).__name__}: {first_line(error)}"
    return CheckpointError(f"cannot fetch {remote} from {repo} ({reason})")
