"""Files in an object store beside plain disk: moto's S3 server on loopback, whose own speed is in all figures.

python bench/objects.py [--gigabyte]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stratal.store.files.blobs import Blobs
from stratal.store.files.bucket import BucketBlobs
from stratal.store.files.cache import Cache
from stratal.store.files.disk import DiskBlobs
from stratal.store.files.objects import open_objects
from stratal.testing.buckets import VARIABLES, make_bucket, s3_server

TRIES = 5


def main() -> None:
    with s3_server() as endpoint, tempfile.TemporaryDirectory() as folder:
        make_bucket(endpoint, "bucket")
        os.environ.update(VARIABLES, AWS_ENDPOINT_URL=endpoint)
        here = Path(folder)
        places: dict[str, Callable[[int], Blobs]] = {
            "disk": lambda number: DiskBlobs(here / f"disk{number}"),
            "s3": lambda number: BucketBlobs(
                open_objects(f"s3://bucket/{number}"), cache=Cache(here / f"cache{number}", limit_bytes=4 << 30)
            ),
        }
        for what, size, count in (("small files", 10_000, 100), ("files of 32 MiB", 32 << 20, 2)):
            _compare(what, size, count, places)
        if "--gigabyte" in sys.argv:
            _gigabyte(here, places)


def _compare(what: str, size: int, count: int, places: dict[str, Callable[[int], Blobs]]) -> None:
    seconds: dict[str, list[float]] = {}
    for number in range(TRIES):
        data = [os.urandom(size) for _ in range(count)]
        for name, make in places.items():
            place = make(number * 10 + (size > 1 << 20))
            began = time.perf_counter()
            digests = [place.put(each) for each in data]
            put = time.perf_counter()
            assert [place.read(digest) for digest in digests] == data
            read = time.perf_counter()
            assert [place.read(digest) for digest in digests] == data
            again = time.perf_counter()
            for step, took in (("put", put - began), ("read", read - put), ("read again", again - read)):
                seconds.setdefault(f"{name} {step}", []).append(took)
    for step in ("put", "read", "read again"):
        disk, s3 = (statistics.median(seconds[f"{name} {step}"]) for name in ("disk", "s3"))
        rates = " ".join(
            f"{name} {count / took:,.1f}/s {count * size / took / 1e6:,.1f} MB/s," for name, took in (("disk", disk), ("s3", s3))
        )
        print(f"{what}, {step}: {rates} ratio {s3 / disk:.1f}, median of {TRIES}")


def _gigabyte(here: Path, places: dict[str, Callable[[int], Blobs]]) -> None:
    path = here / "gigabyte"
    with path.open("wb") as file:
        for _ in range(16):
            file.write(os.urandom(64 << 20))
    for name, make in places.items():
        place = make(99)
        began = time.perf_counter()
        digest = place.put_file(path)
        put = time.perf_counter()
        place.path(digest)
        read = time.perf_counter()
        print(f"one file of 1 GiB, {name}: put {put - began:.1f} s, read {read - put:.1f} s")


if __name__ == "__main__":
    main()
