"""The one program that Spark runs.

It reads a job from standard input, loads the agreed views, runs the agreed SQL and writes the
result through the pod's loopback door. Events go to standard output, one JSON object per line.
Nothing that this program prints holds a data value or the capability in the addresses.
"""

import os
import sys

# Isolated mode keeps the script's directory off the path; the other modules lie beside it.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import events  # noqa: E402
import job_spec  # noqa: E402
from failure import Failure, classify  # noqa: E402


def main():
    report = events.take_over_stdout()
    try:
        # Imported late, so that a broken installation is reported as an event too.
        import session
        import query

        job = job_spec.read(sys.stdin.buffer)
        spark = session.start()
        try:
            rows_read, rows_written = query.run(spark, job, report)
        finally:
            spark.stop()
    except Exception as error:  # every failure becomes one event and one exit code
        print(repr(error), file=sys.stderr)
        failure = error if isinstance(error, Failure) else classify(error)
        report("QUERY_EXECUTION_FAILED", code=failure.code, message=failure.message)
        return 1
    report("QUERY_EXECUTION_COMPLETED", rows=rows_written, rowsRead=rows_read)
    return 0


if __name__ == "__main__":
    sys.exit(main())
