"""Reading the lake again, independently of the step that wrote it: objects are fetched and hashed, footers read."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice

from shopstream_assets.platform.lake.manifest import LakeObject, Manifest
from shopstream_assets.platform.lake.object_store import CONCURRENCY, ObjectMissing, ObjectStoreResource


def lake_differences(store: ObjectStoreResource, manifests: Iterable[Manifest]) -> Iterator[str]:
    """What the bucket has otherwise than the manifests say, a sentence each: every object is fetched."""
    held = [(manifest, (*manifest.objects, *manifest.quarantine_objects)) for manifest in manifests]
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        # All at once: most days have one object, and would wait for each other.
        stored = pool.map(partial(_stored_rows, store), (item for _, objects in held for item in objects))
        for manifest, objects in held:
            found = list(zip((item.kind for item in objects), islice(stored, len(objects)), strict=True))
            wrong = [told for _, told in found if isinstance(told, str)]
            yield from wrong
            rows: Counter[str] = Counter()
            for kind, told in found:
                rows[kind] += told if isinstance(told, int) else 0
            if not wrong and rows["current"] + rows["quarantine"] != manifest.source_rows:
                yield (
                    f"{manifest.partition}: the source had {manifest.source_rows} rows, the objects hold "
                    f"{rows['current']} and quarantine {rows['quarantine']}"
                )


def _stored_rows(store: ObjectStoreResource, item: LakeObject) -> int | str:
    """Rows of an object as it lies in the bucket; what is wrong with it, where something is.

    Quarantine expires, by the bucket's lifecycle: a day whose rows are as they were then goes on naming it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = store.get(item.key)
    except ObjectMissing:
        return item.rows if item.kind == "quarantine" else f"object {item.key} is missing"
    if hashlib.sha256(content).hexdigest() != item.sha256:
        return f"object {item.key} is not the one that was written (checksum differs from its manifest)"
    if item.kind == "quarantine":
        rows = content.count(b"\n")
    else:
        try:
            rows = pq.ParquetFile(io.BytesIO(content)).metadata.num_rows
        except pa.ArrowInvalid as error:
            return f"object {item.key} cannot be read ({error})"
    return rows if rows == item.rows else f"object {item.key} has {rows} rows, its manifest says {item.rows}"
