"""Why a run failed, in classes that say nothing about the data."""


class Failure(Exception):
    """A failure with its class; the message must not hold data values."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def refused(message):
    """The second gate says no."""
    return Failure("QUERY_REFUSED", message)


def schema_mismatch(message):
    """Files or result don't have the agreed columns."""
    return Failure("SCHEMA_MISMATCH", message)


# Spark's names for what goes wrong while files of the wrong shape are read.
_MALFORMED = ("MALFORMED_RECORD", "FAILED_READ_FILE", "CANNOT_PARSE", "CONVERT_ERROR")
# What its analyser says of a query that names what it does not have.
_UNRESOLVED = ("UNRESOLVED", "TABLE_OR_VIEW_NOT_FOUND", "PARSE_SYNTAX_ERROR", "UNBOUND_SQL_PARAMETER", "ALREADY_EXISTS")
# Java exceptions of the file system client.
_UNREACHABLE = ("ConnectException", "AccessControlException", "FileNotFoundException", "SocketException")


def classify(error):
    """Turns any exception into a `Failure`. Only Spark's own name of the condition is passed on,
    never its text: that quotes values and addresses."""
    text = str(error)
    condition = _condition(error)
    shown = f" ({condition})" if condition else ""
    if any(name in text for name in _UNREACHABLE):
        return Failure("DATASET_UNREACHABLE", "a dataset could not be read or the sink not written")
    if any(name in (condition or "") or name in text for name in _MALFORMED):
        return schema_mismatch(f"a dataset's files do not match its schema{shown}")
    if condition and any(name in condition for name in _UNRESOLVED):
        return refused(f"spark does not understand the query{shown}")
    return Failure("SPARK_JOB_FAILED", f"spark failed: {type(error).__name__}{shown}")


def _condition(error):
    getter = getattr(error, "getCondition", None) or getattr(error, "getErrorClass", None)
    try:
        found = getter() if getter else None
    except Exception:
        return None
    ok = isinstance(found, str) and len(found) < 100 and found.replace("_", "").replace(".", "").isalnum()
    return found if ok else None
