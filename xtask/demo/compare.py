"""Computes the demo's query over the clear files with DuckDB and compares it with Spark's answer.

Usage: compare.py CLEAR_DIR RESULT_CSV MIN_GROUP

The SQL below is written for DuckDB by hand; it shares no text with the query that was voted.
Prints {"equal", "rows", "groups_before_threshold", "differences"} and exits 1 unless equal.
"""

import csv
import json
import math
import pathlib
import sys

import duckdb


def expected(clear: pathlib.Path, min_group: int) -> tuple[dict, int]:
    database = duckdb.connect()
    for name in ("flights", "weather", "planes"):
        fields = json.loads((clear / f"{name}.schema.json").read_text())["fields"]
        types = {"integer": "BIGINT", "number": "DOUBLE", "string": "VARCHAR"}
        columns = {field["fieldName"]: types[field["fieldType"]] for field in fields}
        database.register(name, database.read_csv(str(clear / f"{name}.csv"), header=False, columns=columns))
    rows = database.sql(
        """
        SELECT planes.manufacturer,
               if(visib >= 10, 'clear', if(visib >= 3, 'hazy', 'poor')) AS band,
               sum(dep_delay) / count(dep_delay) AS mean_delay,
               count(DISTINCT flights.tailnum) AS tails
        FROM flights, planes, weather
        WHERE planes.tailnum = flights.tailnum
          AND weather.origin = flights.origin
          AND weather.time_hour = flights.time_hour
          AND dep_delay IS NOT NULL
        GROUP BY ALL
        """
    ).fetchall()
    kept = {(r[0], r[1]): (r[2], r[3]) for r in rows if r[3] >= min_group}
    return kept, len(rows)


def main() -> None:
    clear, result, min_group = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    want, groups = expected(clear, min_group)
    with open(result, newline="", encoding="utf-8") as file:
        got = {
            (row["manufacturer"], row["visibility"]): (float(row["mean_dep_delay"]), int(row["planes"]))
            for row in csv.DictReader(file)
        }
    differences = []
    for key in sorted(set(want) | set(got)):
        if key not in want or key not in got:
            differences.append({"group": key, "only_in": "clear files" if key in want else "result"})
            continue
        (mean_a, tails_a), (mean_b, tails_b) = want[key], got[key]
        if tails_a != tails_b or not math.isclose(mean_a, mean_b, rel_tol=1e-12, abs_tol=1e-12):
            differences.append({"group": key, "expected": want[key], "got": got[key]})
    equal = not differences and bool(want)
    report = {"equal": equal, "rows": len(got), "groups_before_threshold": groups, "differences": differences[:5]}
    print(json.dumps(report))
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
