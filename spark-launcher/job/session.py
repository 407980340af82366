"""The Spark session: local, closed, and writing nothing in clear."""

import os

from pyspark.sql import SparkSession


def start():
    """Starts Spark inside the working directory that the supervisor made and will remove."""
    work = os.environ["CONCORDAT_SPARK_WORK"]
    threads = int(os.environ["CONCORDAT_SPARK_THREADS"])
    settings = {
        "spark.driver.memory": os.environ["CONCORDAT_SPARK_MEMORY"],
        # Only this machine, and no pages about the job.
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # What spills to disk is encrypted under a key that dies with the process.
        "spark.io.encryption.enabled": "true",
        "spark.local.dir": os.path.join(work, "local"),
        "spark.sql.warehouse.dir": os.path.join(work, "warehouse"),
        # SQL sees registered views and nothing else.
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.runSQLOnFiles": "false",
        # Spark would replace ${env:X} in SQL text by the environment's value before parsing.
        "spark.sql.variable.substitute": "false",
        # Overflow and bad casts are errors: silent nulls would change counts.
        "spark.sql.ansi.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(2 * threads),
        # Results appear in place and without marker files; the pod makes them visible.
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
        "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.appName("concordat").master(f"local[{threads}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()
