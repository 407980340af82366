"""Runs statements through the pod's gate on Spark's analysed plan, in one real session.

Arguments: the directory of the fixed program, the directory of the SQL corpus. Prints what went
wrong and exits with 1, or exits with 0.
"""

import sys

sys.path.insert(0, sys.argv[1])

import plan_gate  # noqa: E402
import session  # noqa: E402

TABLES = {
    "flights": "carrier string, tailnum string, dep_delay int, day int, month int, distance int, "
               "origin string, time_hour timestamp",
    "planes": "tailnum string, model string, manufacturer string",
    "weather": "origin string, time_hour timestamp, visib double",
}
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
"""

COUNTS = f"""
    {COUNTED}
    SELECT carrier, CAST(COUNT(DISTINCT tailnum) AS INT) AS n FROM flights GROUP BY carrier
    SELECT carrier, n FROM earlier ORDER BY n LIMIT 5
    WITH c AS ({COUNTED}) SELECT carrier, n FROM c WHERE n > 1
    {COUNTED} UNION ALL SELECT origin, COUNT(*) AS n FROM flights GROUP BY origin
"""

NOT_COUNTS = f"""
    SELECT carrier, 1000 AS n FROM flights
    SELECT carrier, SUM(1) AS n FROM flights GROUP BY carrier
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


def corpus(path):
    statements = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("-- "):
                statements.append("")
            else:
                statements[-1] += line
    return statements


def plan_of(spark, sql):
    statement = plan_gate.parse(spark, sql)
    plan = plan_gate.analysed(spark.sql(statement.query, args={"late": 5}))
    plan_gate.check(spark, plan, {"flights", "planes", "weather", "earlier"})
    return plan


def passes(action):
    """None if the action passes, else what it raised."""
    try:
        action()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def main():
    spark = session.start()
    for name, fields in TABLES.items():
        spark.createDataFrame([], fields).createTempView(name)
    spark.sql(COUNTED).createTempView("earlier")
    spark.createDataFrame([], "secret string").createTempView("hidden")
    spark.createDataFrame([], "secret string").createGlobalTempView("shared")

    wrong = []
    for sql in corpus(sys.argv[2] + "/good.sql"):
        if error := passes(lambda: plan_of(spark, sql)):
            wrong.append(f"should pass: {sql}: {error}")
    for sql in lines(REFUSED):
        if not passes(lambda: plan_of(spark, sql)):
            wrong.append(f"should be refused: {sql}")
    for expected, text in ((True, COUNTS), (False, NOT_COUNTS)):
        for sql in lines(text):
            plan = plan_of(spark, sql)
            error = passes(lambda: plan_gate.check_count(plan, "n"))
            if (error is None) != expected:
                wrong.append(f"count should be {expected}: {sql}: {error}")
    spark.stop()
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
