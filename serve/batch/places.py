"""From an address to the storage that the file is in, and what it is called there."""

from runtime.storage import SCHEME, S3Options, Storage, open_storage, split_address
from serve.batch.items import path_of


def place_of_file(address: str, options: S3Options) -> tuple[Storage, str]:
    """Where a file is, on disk or in S3, and what it is called there."""
    if address.startswith(SCHEME):
        bucket, key = split_address(address)
        return open_storage(f"{SCHEME}{bucket}", options), key
    folder, slash, name = path_of(address).rpartition("/")
    return open_storage(folder or slash or "."), name
