"""Field types of dataset documents as Spark types."""

from pyspark.sql import types

_TYPES = {
    "string": types.StringType,
    "integer": types.IntegerType,
    "long": types.LongType,
    "number": types.DoubleType,
    "boolean": types.BooleanType,
    "date": types.DateType,
    "timestamp": types.TimestampType,
}


def struct(fields):
    """The Spark schema of a list of (name, type). An unknown type is a KeyError, never text."""
    return types.StructType([types.StructField(name, _TYPES[kind](), True) for name, kind in fields])


def type_of(kind):
    """The Spark type of one field type."""
    return _TYPES[kind]()
