"""A Python program places an order through a client generated from the contract, waits for its outcome, reads it back.

Usage: python place_order.py FOLDER URL, where FOLDER holds the generated package `contract`.
"""

import sys
from uuid import UUID

folder, url = sys.argv[1:]
sys.path.insert(0, folder)

from contract import Client  # noqa: E402
from contract.api.orders import list_orders, place_order, show_order, cancel_order  # noqa: E402
from contract.api.products import create_product  # noqa: E402
from contract.api.stock import receive_stock  # noqa: E402
from contract.models import (  # noqa: E402
    CancelOrderBody,
    CreateProductBody,
    ListOrdersStatus,
    Money,
    Order,
    PlacedOrder,
    PlaceOrderBody,
    PlaceOrderLine,
    Problem,
    ReceiveStockBody,
    ShowOrderUntil,
)

SKU = "FROM-PYTHON"
client = Client(base_url=url)
key = "python"

body = CreateProductBody(sku=SKU, name="A mug", price=Money(amount=1299, currency="EUR"))
answer = create_product.sync_detailed(client=client, body=body, idempotency_key=key)
assert answer.status_code == 201, answer
answer = receive_stock.sync_detailed(SKU, "main", client=client, body=ReceiveStockBody(quantity=5), idempotency_key=key)
assert answer.status_code == 200, answer

placed = place_order.sync(
    client=client,
    idempotency_key=key,
    body=PlaceOrderBody(
        customer_id=UUID("7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11"),
        lines=[PlaceOrderLine(sku=SKU, quantity=2)],
        payment_method="tok_approve",
    ),
)
assert isinstance(placed, PlacedOrder), placed
assert isinstance(placed.position, int), placed.position

order = show_order.sync(
    placed.id, client=client, until=ShowOrderUntil.SETTLED, x_min_position=placed.position, prefer="wait=30"
)
assert isinstance(order, Order), order
assert (order.status, order.payment_status) == ("confirmed", "authorized"), order
assert (order.total.amount, order.total.currency) == (placed.total.amount, "EUR"), order.total
assert [(line.sku, line.unit_price.amount) for line in order.lines] == [(SKU, 1299)], order.lines

page = list_orders.sync(client=client, status=ListOrdersStatus.CONFIRMED, limit=200)
assert placed.id in {str(item.id) for item in page.items}, page

nobody = UUID("00000000-0000-4000-8000-000000000000")
problem = cancel_order.sync(nobody, client=client, body=CancelOrderBody(), idempotency_key=key)
assert isinstance(problem, Problem) and problem.type_ == "/problems/not-found", problem

# A status of a later version is read and written again as it is: nothing has to be generated again.
tomorrow = Order.from_dict({**order.to_dict(), "status": "a_status_of_tomorrow"})
assert tomorrow.status == "a_status_of_tomorrow", tomorrow.status
assert tomorrow.to_dict()["status"] == "a_status_of_tomorrow"
print(placed.id)
