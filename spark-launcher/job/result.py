"""Writes the result: the sink's columns in the sink's types, counted once."""

import schema
from failure import schema_mismatch

# Below this many rows one file is kinder to its reader than one per task.
_SINGLE_FILE_ROWS_MAX = 1_000_000


def write(frame, output, report):
    """Writes what the sink allows of `frame`; gives the number of rows."""
    frame = _narrow(frame, output).cache()
    report("DATASET_WRITE_STARTED")
    try:
        rows = frame.count()
        if rows <= _SINGLE_FILE_ROWS_MAX:
            frame = frame.coalesce(1)
        writer = frame.write.mode("errorifexists")
        if output.format == "csv":
            writer.csv(output.url, header=True, escape='"')
        elif output.format == "json":
            writer.json(output.url)
        elif output.format == "parquet":
            writer.parquet(output.url)
        else:
            raise ValueError("unknown format")
    except Exception:
        report("DATASET_WRITE_FAILED")
        raise
    report("DATASET_WRITE_COMPLETED", rows=rows)
    return rows


def _narrow(frame, output):
    """Only columns the sink allows; every one of them must be there, in the agreed type."""
    found = {field.name.lower(): field for field in frame.schema.fields}
    if len(found) != len(frame.schema.fields):
        raise schema_mismatch("the result has two columns of one name")
    agreed = dict(output.fields)
    for name in output.allowed:
        field = found.get(name.lower())
        if field is None:
            raise schema_mismatch(f"the result has no column {name}")
        expected = schema.type_of(agreed[name])
        if field.dataType != expected:
            raise schema_mismatch(
                f"column {name} is {field.dataType.simpleString()}, the sink wants {expected.simpleString()}"
            )
    return frame.select([frame[f"`{name}`"].alias(name) for name in output.allowed])
