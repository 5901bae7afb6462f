"""What a test sees of a store in an object store, by a client of its own that does not fail."""

import json
from typing import Any

from tests.components.conftest import SECRET, ObjectStore

QUICK = {
    "config_kwargs": {"connect_timeout": 2, "read_timeout": 2, "retries": {"mode": "standard", "max_attempts": 8}},
    "use_listings_cache": False,
}  # fmt: skip
"""For FSSPEC_S3: a request that hangs is given up after two seconds."""


def find(store: ObjectStore, pattern: str) -> dict[str, bytes]:
    """Objects by their path in the store."""
    root = store.url.removeprefix("s3://")
    store.system.invalidate_cache()
    return {
        path[len(root) + 1 :]: store.system.cat_file(path) for path in sorted(store.system.glob(f"{root}/{pattern}"))
    }


def records(store: ObjectStore, step: str) -> list[dict[str, Any]]:
    return [json.loads(content) for content in find(store, f"{step}/*/record.json").values()]


def weights(store: ObjectStore) -> dict[str, Any]:
    return {
        f"{step}/{record['digest']}": record["outputs"]["weights_sha256"]
        for step in ("base", "phase")
        for record in records(store, step)
    }


def losses(store: ObjectStore) -> dict[str, list[tuple[int, float]]]:
    return {
        path.rpartition("/")[0]: [(row["step"], row["loss"]) for row in map(json.loads, content.splitlines())]
        for path, content in find(store, "*/*/metrics.jsonl").items()
    }


def who_tells_the_secret(store: ObjectStore) -> list[str]:
    """The objects that hold it."""
    store.system.invalidate_cache()
    return [path for path in store.system.find(store.url) if SECRET.encode() in store.system.cat_file(path)]
