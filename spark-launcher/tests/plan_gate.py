"""Runs statements through the pod's gate on Spark's analysed plan, in one real session.

Arguments: the directory of the fixed program, a file with statements that the first gate admits
and the views that it found in each, and the corpus of statements that were tried against both gates. Prints what went wrong and exits with 1, or exits with 0.
"""

import json
import os
import sys

sys.path.insert(0, sys.argv[1])

import plan_gate  # noqa: E402
import session  # noqa: E402
from failure import Failure, classify  # noqa: E402

TABLES = {
    "flights": "carrier string, tailnum string, dep_delay int, day int, month int, distance int, "
               "origin string, time_hour timestamp",
    "planes": "tailnum string, model string, manufacturer string",
    "weather": "origin string, time_hour timestamp, visib double",
}
KNOWN = {"flights", "planes", "weather", "earlier"}
COUNTED = "SELECT carrier, COUNT(*) AS n FROM flights GROUP BY carrier"

# What this gate must stop on its own, should the first one ever be fooled.
REFUSED = """
    SELECT * FROM csv.`file:///etc/passwd`
    SELECT * FROM hidden
    SELECT * FROM global_temp.shared
    SELECT reflect('java.lang.System', 'getProperty', 'user.dir') AS e FROM flights
    SELECT java_method('java.lang.System', 'getProperty', 'user.dir') AS e FROM flights
    SELECT carrier FROM flights WHERE carrier IN (SELECT reflect('java.lang.System', 'getProperty', 'x'))
    SELECT (SELECT MAX(secret) FROM hidden) AS m FROM flights
    SELECT carrier FROM flights WHERE EXISTS (SELECT 1 FROM hidden)
    WITH a AS (SELECT secret FROM hidden) SELECT secret FROM a
    SELECT secret FROM flights, LATERAL (SELECT secret FROM hidden)
    SELECT TRANSFORM (carrier) USING 'id' AS (b) FROM flights
    SELECT input_file_name() AS f FROM flights
    SELECT current_user() AS u FROM flights
    SELECT raise_error(tailnum) AS u FROM flights
    SELECT id FROM range(1000)
    SET spark.sql.runSQLOnFiles = true
    ADD JAR '/tmp/none.jar'
    DROP VIEW flights
    SHOW TABLES
    DESCRIBE flights
    CREATE TABLE t AS SELECT carrier FROM flights
    CREATE VIEW v AS SELECT carrier FROM flights
    CREATE GLOBAL TEMPORARY VIEW v AS SELECT carrier FROM flights
    CREATE TEMPORARY VIEW v USING csv OPTIONS (path '/etc/passwd')
    CREATE TEMPORARY VIEW v AS DROP VIEW flights
    INSERT OVERWRITE DIRECTORY '/tmp/none' USING csv SELECT carrier FROM flights
    SELECT 1; SELECT 2
    WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r
    SELECT concat_ws('|', *) AS a FROM flights
    SELECT array(f.*) AS a FROM flights f
    SELECT struct(*) AS a FROM flights
"""

# What acts while Spark analyses it, or could. None may be analysed at all; {out} must not come to be.
ACTING = """
    INSERT OVERWRITE DIRECTORY '{out}' USING csv SELECT carrier FROM flights
    CREATE TEMP VIEW v AS INSERT OVERWRITE DIRECTORY '{out}' USING csv SELECT carrier FROM flights
    WITH a AS (SELECT 1 AS x) INSERT OVERWRITE DIRECTORY '{out}' USING csv SELECT x FROM a
    FROM flights INSERT OVERWRITE DIRECTORY '{out}' USING csv SELECT carrier INSERT OVERWRITE DIRECTORY '{out}' USING csv SELECT tailnum
    EXECUTE IMMEDIATE 'INSERT OVERWRITE DIRECTORY "{out}" USING csv SELECT carrier FROM flights'
    /* /*+ */ EXECUTE IMMEDIATE 'INSERT OVERWRITE DIRECTORY "{out}" USING csv SELECT * FROM flights -- */ SELECT carrier FROM flights --'
    EXECUTE IMMEDIATE 'SELECT carrier FROM flights'
    CREATE TABLE t USING csv LOCATION '{out}' AS SELECT carrier FROM flights
    CALL system.run('x')
    BEGIN SELECT 1; END
    CACHE TABLE flights
    DECLARE VARIABLE x INT
"""

COUNTS = f"""
    {COUNTED}
    SELECT carrier, CAST(COUNT(DISTINCT tailnum) AS INT) AS n FROM flights GROUP BY carrier
    SELECT carrier, n FROM earlier ORDER BY n LIMIT 5
    WITH c AS ({COUNTED}) SELECT carrier, n FROM c WHERE n > 1
    {COUNTED} UNION ALL SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin
    SELECT carrier, CAST(CAST(COUNT(*) AS INT) AS LONG) AS n FROM flights GROUP BY carrier
"""

NOT_COUNTS = f"""
    SELECT carrier, 1000 AS n FROM flights
    SELECT carrier, SUM(1) AS n FROM flights GROUP BY carrier
    SELECT carrier, CAST(CAST(CAST(COUNT(*) AS INTERVAL DAY) AS INTERVAL SECOND) AS BIGINT) AS n FROM flights GROUP BY carrier
    SELECT /*+ X('*/ carrier, COUNT(*) AS n FROM flights GROUP BY carrier -- ') */ carrier, CAST(CAST(CAST(COUNT(*) AS INTERVAL DAY) AS INTERVAL SECOND) AS BIGINT) AS n FROM flights GROUP BY carrier
    SELECT carrier, CAST(CAST(COUNT(*) AS TIMESTAMP) AS BIGINT) AS n FROM flights GROUP BY carrier
    SELECT carrier, CAST(COUNT(*) AS STRING) AS n FROM flights GROUP BY carrier
    SELECT carrier, TRY_CAST(COUNT(*) AS INT) AS n FROM flights GROUP BY carrier
    SELECT carrier, COUNT(*) + 1000 AS n FROM flights GROUP BY carrier
    SELECT carrier, COUNT(*) OVER () AS n FROM flights
    SELECT tailnum, (SELECT COUNT(*) FROM flights) AS n FROM flights
    SELECT f.tailnum, e.n FROM flights f JOIN earlier e ON f.carrier = e.carrier
    SELECT tailnum, n FROM earlier LATERAL VIEW explode(array(carrier)) t AS tailnum
    {COUNTED} UNION ALL SELECT tailnum, CAST(1000 AS BIGINT) AS n FROM flights
    SELECT COUNT(*) AS n, 1000 AS n FROM flights
    SELECT carrier, COUNT(*) AS m FROM flights GROUP BY carrier
"""


def lines(text):
    return [line.strip() for line in text.strip().splitlines()]


def plan_of(spark, sql):
    statement = plan_gate.parse(spark, sql)
    return plan_gate.analyse(spark, statement, {"late": 5})


def read_by(spark, sql):
    return plan_gate.views_read(plan_of(spark, sql), KNOWN)


def run(spark, sql, reads):
    plan = plan_of(spark, sql)
    plan_gate.check(plan, KNOWN, reads)
    plan_gate.frame(spark, plan).collect()


def passes(action):
    """None if the action passes, else what it raised."""
    try:
        action()
    except Exception as error:
        return error
    return None


def is_refusal(error):
    """Whether the run would end as a refused query, also if Spark's parser stopped it."""
    failure = error if isinstance(error, Failure) else classify(error)
    return failure.code == "QUERY_REFUSED"


def verdict(spark, kind, sql):
    """What this gate says of a statement that the first gate never saw."""
    statement = plan_gate.parse(spark, sql)
    plan = plan_gate.analyse(spark, statement, {})
    plan_gate.views_read(plan, KNOWN)
    if kind == "count":
        plan_gate.check_count(plan, "n")


def tried(spark, path):
    """Statements of the corpus whose verdict is not the one written there."""
    with open(path, encoding="utf-8") as file:
        text = file.read().splitlines()
    wrong = []
    for head, sql in zip(text[::2], text[1::2], strict=True):
        kind, _, expected = head.removeprefix("-- ").split(": ")[0].split(" ")
        error = passes(lambda: verdict(spark, kind, sql))
        found = "admitted" if error is None else "refused" if is_refusal(error) else "fails"
        if found != expected:
            wrong.append(f"{expected} expected, {found}: {sql}: {str(error)[:200]}")
    return wrong


def main():
    spark = session.start()
    for name, fields in TABLES.items():
        spark.createDataFrame([], fields).createTempView(name)
    spark.sql(COUNTED).createTempView("earlier")
    spark.createDataFrame([], "secret string").createTempView("hidden")
    spark.createDataFrame([], "secret string").createGlobalTempView("shared")

    wrong = []
    with open(sys.argv[2], encoding="utf-8") as file:
        admitted = json.load(file)
    for sql, reads in admitted:
        if error := passes(lambda: run(spark, sql, reads)):
            wrong.append(f"should pass: {sql}: {reads}: {str(error)[:300]}")
        if not passes(lambda: run(spark, sql, [*reads, "hidden"])):
            wrong.append(f"the gates disagree on what is read, and it passes: {sql}")
    for sql in lines(REFUSED):
        error = passes(lambda: read_by(spark, sql))
        if not error or not is_refusal(error):
            wrong.append(f"should be refused: {sql}: {str(error)[:300]}")
    out = os.path.join(os.environ["CONCORDAT_SPARK_WORK"], "out")
    for sql in lines(ACTING.format(out=out)):
        error = passes(lambda: plan_gate.parse(spark, sql))
        if not error or not is_refusal(error):
            wrong.append(f"should be refused before it is analysed: {sql}: {str(error)[:300]}")
        if os.path.exists(out):
            wrong.append(f"has acted: {sql}")
    for expected, text in ((True, COUNTS), (False, NOT_COUNTS)):
        for sql in lines(text):
            error = passes(lambda: plan_gate.check_count(plan_of(spark, sql), "n"))
            if (error is None) != expected or (error and not is_refusal(error)):
                wrong.append(f"count should be {expected}: {sql}: {str(error)[:300]}")
    wrong += tried(spark, sys.argv[3])
    spark.stop()
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
