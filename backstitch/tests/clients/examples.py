"""Sends the examples of the contract as they are to a fresh server: product, stock, order; waits until it is settled.

Usage: python examples.py CONTRACT URL
"""

import json
import sys

import httpx

contract, url = json.load(open(sys.argv[1])), sys.argv[2]
schemas = contract["components"]["schemas"]


def example(schema):
    """The documented example of a schema: its own, or that of each property that has one or is required."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rsplit("/", 1)[1]])
    if "example" in schema:
        return schema["example"]
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("type") == "array":
        return [example(schema["items"])]
    required = schema.get("required", [])
    return {name: example(field) for name, field in schema.get("properties", {}).items() if name in required}


def send(operation_id):
    """Sends one operation with its examples."""
    for path, methods in contract["paths"].items():
        for method, operation in methods.items():
            if operation["operationId"] != operation_id:
                continue
            headers, names = {}, {}
            for parameter in operation["parameters"]:
                if parameter["required"]:
                    value = parameter.get("example", example(parameter["schema"]))
                    (names if parameter["in"] == "path" else headers)[parameter["name"]] = value
            body = example(operation["requestBody"]["content"]["application/json"]["schema"])
            answer = httpx.request(method, url + path.format(**names), headers=headers, json=body)
            assert answer.is_success, f"{operation_id} {body}: {answer.status_code} {answer.text}"
            return answer.json()
    raise SystemExit(f"no operation {operation_id}")


send("createProduct")
send("receiveStock")
placed = send("placeOrder")
headers = {"Prefer": "wait=30", "X-Min-Position": str(placed["position"])}
order = httpx.get(f"{url}/v1/orders/{placed['id']}?until=settled", headers=headers, timeout=40).json()
assert (order["status"], order["payment_status"]) == ("confirmed", "authorized"), order
