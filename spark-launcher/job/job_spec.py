"""Reads the job. The pod has checked the documents; here only the shape is relied upon."""

import json
from dataclasses import dataclass

SIZE_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class View:
    """An input dataset under its name in SQL."""

    name: str
    url: str
    format: str
    fields: list  # of (name, type)
    allowed: list
    min_rows: int


@dataclass(frozen=True)
class Segment:
    """One SQL statement; `place` is its index in the query document."""

    place: int
    sequence: int
    sql: str
    pre_conditions: list  # of (view, least rows)
    post_filters: list  # of (column, least count)
    reads: list  # views that the first gate found in the text, lower case


@dataclass(frozen=True)
class Output:
    """Where the result goes."""

    url: str
    format: str
    fields: list
    allowed: list
    min_group_size: int


@dataclass(frozen=True)
class Job:
    """Everything about one run."""

    run_id: str
    views: list
    segments: list  # in order of execution
    parameters: dict
    output: Output


def read(stream):
    """Reads one job from a binary stream."""
    data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise ValueError("the job is too large")
    raw = json.loads(data)
    segments = [
        Segment(
            place=place,
            sequence=segment["executionSequence"],
            sql=segment["data"],
            pre_conditions=[(c["viewName"], c["minRowCount"]) for c in segment.get("preConditions", [])],
            post_filters=[(f["columnName"], f["value"]) for f in segment.get("postFilters", [])],
            reads=reads,
        )
        for place, (segment, reads) in enumerate(zip(raw["segments"], raw["reads"], strict=True))
    ]
    output = raw["output"]
    return Job(
        run_id=raw["runId"],
        views=[
            View(v["name"], v["url"], v["format"], _fields(v), v["allowedFields"], v["minRows"])
            for v in raw["views"]
        ],
        segments=sorted(segments, key=lambda segment: (segment.sequence, segment.place)),
        parameters=raw["parameters"],
        output=Output(
            output["url"], output["format"], _fields(output), output["allowedFields"], output["minGroupSize"]
        ),
    )


def _fields(raw):
    return [(field["fieldName"], field["fieldType"]) for field in raw["fields"]]
