"""What schemathesis is told beside the document, as JSON Schema does not say it.

* 639.0 is an integer to JSON Schema, and to nobody who writes one.
* Texts have no control characters and none that change the direction of the text; `a` stands for each.
* Currencies are those of ISO 4217 with minor units, prices from 1 to 10^9, adjustments of stock not 0.

A value that the document refuses is left as wrong as it is.
"""

import unicodedata

import schemathesis

PRICE_MAX = 10**9


def whole(value):
    """The same value, with floats that are whole written as integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {name: whole(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return value


def sayable(value):
    """The same value within the rules that the document does not say."""
    if isinstance(value, str):
        return "".join("a" if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in value)
    if isinstance(value, list):
        return [sayable(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    value = {name: sayable(inner) for name, inner in value.items()}
    currency, amount = value.get("currency"), value.get("amount")
    if isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper():
        value["currency"] = "EUR"
    if isinstance(amount, int) and not isinstance(amount, bool):
        value["amount"] = abs(amount) % PRICE_MAX or 1
    if value.get("delta") == 0 and value["delta"] is not False:
        value["delta"] = 1
    return value


@schemathesis.hook
def map_body(context, body):
    return sayable(whole(body))


@schemathesis.hook
def map_query(context, query):
    return whole(query)
