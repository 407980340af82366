"""Events on standard output, kept apart from whatever libraries print."""

import json
import os
import threading


def take_over_stdout():
    """Returns a function that reports events on the original standard output.

    The descriptor itself is then pointed at standard error: the Java process inherits it, and a
    stray line from there must not be taken for an event.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def report(event, **facts):
        line = json.dumps({"event": event, **facts})
        with lock:
            channel.write(line + "\n")
            channel.flush()

    return report
