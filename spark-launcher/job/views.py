"""Loads input datasets as views: explicit schema, allowed fields only, read once."""

from concurrent.futures import ThreadPoolExecutor

import schema
from failure import Failure
from pyspark.storagelevel import StorageLevel


def load(spark, views, report):
    """Registers every view; gives the row count of each by lower-case name."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return dict(pool.map(lambda view: _load(spark, view, report), views))


def _load(spark, view, report):
    report("DATASET_LOAD_STARTED", view=view.name)
    try:
        frame = _read(spark, view).select([f"`{name}`" for name in view.allowed])
        frame.persist(StorageLevel.MEMORY_AND_DISK)
        frame.createTempView(view.name)
        rows = frame.count()
    except Exception:
        report("DATASET_LOAD_FAILED", view=view.name)
        raise
    report("DATASET_LOAD_COMPLETED", view=view.name, rows=rows)
    if rows < view.min_rows:
        raise Failure("K_MIN_NOT_MET", f"view {view.name} has fewer rows than its owner demands")
    return view.name.lower(), rows


def _read(spark, view):
    reader = spark.read.schema(schema.struct(view.fields)).option("recursiveFileLookup", "true")
    if view.format == "csv":
        # No header; an empty field is null; a row of another shape is an error, not a null.
        return reader.csv(view.url, header=False, mode="FAILFAST", escape='"')
    if view.format == "json":
        return reader.json(view.url, mode="FAILFAST")
    if view.format == "parquet":
        return reader.parquet(view.url)
    raise ValueError("unknown format")
