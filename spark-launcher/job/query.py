"""Runs the segments in order and writes the last one's result."""

import plan_gate
import result
import views
from failure import Failure, refused


def run(spark, job, report):
    """Runs a job. Gives rows read and rows written."""
    counts = views.load(spark, job.views, report)
    rows_read = sum(counts.values())
    known = set(counts)
    fresh = set()  # views of the group that is running; its own segments must not depend on them
    sequence = None
    last = job.segments[-1]
    frame = None
    for segment in job.segments:
        if segment.sequence != sequence:
            known |= fresh
            fresh, sequence = set(), segment.sequence
        report("QUERY_SEGMENT_EXECUTION_STARTED", segment=segment.place)
        try:
            made, frame = _segment(spark, job, segment, known, counts)
            if (segment is last) != (made is None):
                raise refused("every segment but the last makes a temporary view, and the last does not")
        except Exception:
            report("QUERY_SEGMENT_EXECUTION_FAILED", segment=segment.place)
            raise
        report("QUERY_SEGMENT_EXECUTION_COMPLETED", segment=segment.place)
        if made:
            fresh.add(made)
    _check_floor(last, job.output)
    return rows_read, result.write(frame, job.output, report)


def _segment(spark, job, segment, known, counts):
    for view, least in segment.pre_conditions:
        _check_rows(spark, view.lower(), least, known, counts)
    statement = plan_gate.parse(spark, segment.sql)
    plan = plan_gate.analyse(spark, statement, job.parameters)
    plan_gate.check(plan, known, segment.reads)
    frame = plan_gate.frame(spark, plan)
    for column, least in segment.post_filters:
        plan_gate.check_count(plan, column)
        frame = frame.filter(frame[f"`{column}`"] >= least)
    if statement.view is not None:
        # Unlike CREATE OR REPLACE, this fails if the name is taken: no view is ever redefined.
        frame.createTempView(statement.view)
        return statement.view.lower(), frame
    return None, frame


def _check_rows(spark, view, least, known, counts):
    if view not in known:
        raise refused(f"pre-condition on {view}, which is not a view at this point")
    if view not in counts:
        counts[view] = spark.table(view).count()
    if counts[view] < least:
        raise Failure("K_MIN_NOT_MET", f"view {view} has fewer rows than the query demands")


def _check_floor(segment, output):
    if output.min_group_size and not any(least >= output.min_group_size for _, least in segment.post_filters):
        raise refused("the result is not filtered by a count as large as the owners demand")
