"""Which texts the patterns of the contract take, by Python's `re`: a line for each pattern. patterns.mjs says the same.

Usage: python patterns.py CONTRACT
"""

import json
import re
import sys

TEXTS = [
    "", " ", "a", "order-1", "TSHIRT-M", "EUR", "XAU", '"3"', '"a b"', "data.sku=MUG", "5m", "4QX9K2M7R1TB", "Zoë", "👩‍👩‍👧",
    "\u200eשלום", "a\tb", "a\nb", "a\x1b[2J", "a\x9bb", "a\u202eb", "a\u2066b", "\u00a0", "\u3000",
]


def patterns(value):
    """All patterns within a value."""
    if isinstance(value, dict):
        if isinstance(value.get("pattern"), str):
            yield value["pattern"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from patterns(inner)


for pattern in sorted(set(patterns(json.load(open(sys.argv[1]))))):
    taken = "".join("1" if re.search(pattern, text) else "0" for text in TEXTS)
    print(taken, pattern)
