"""What schemathesis is told beside the document, as JSON Schema does not say it.

* 639.0 is an integer to JSON Schema, and to nobody who writes one.
* A range ends where it begins or later.
* A read waits for a position that the log does not have yet, which is tested elsewhere: here it asks for the first.
* A header of another name is ignored, as everywhere in HTTP.

A value that the document refuses is left as wrong as it is.
"""

import schemathesis

POSITION_MAX = 2**53 - 1
RANGES = [("from", "to"), ("since", "until")]


def whole(value):
    """The same value, with floats that are whole written as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return value


@schemathesis.hook
def map_body(context, body):
    return whole(body)


@schemathesis.hook
def map_query(context, query):
    return whole(query)


@schemathesis.hook
def map_case(context, case):
    query = case.query or {}
    for first, last in RANGES:
        ends = query.get(first), query.get(last)
        if all(isinstance(end, str) for end in ends):
            query[first], query[last] = sorted(ends)
    headers = case.headers or {}
    if "Prefer" in headers:
        headers["Prefer"] = "wait=0"
    position = str(headers.get("X-Min-Position", ""))
    if position.isascii() and position.isdigit() and int(position) <= POSITION_MAX:
        headers["X-Min-Position"] = "1"
    return case


@schemathesis.hook
def filter_case(context, case):
    headers = case.headers or {}
    if "x-schemathesis-unknown-property" in headers:
        return False
    # The coverage phase makes no text with quotes for a header, and takes what it makes instead for valid.
    unquoted = not str(headers.get("If-Match", '""')).startswith('"')
    return not (unquoted and case.meta.generation.mode.is_positive)
