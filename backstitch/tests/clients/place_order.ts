// A TypeScript program places an order through a client generated from the contract, waits for its outcome, reads it back.
// `tsc` checks each name and type. Usage: node place_order.js URL
import createClient from "openapi-fetch";
import type { components, paths } from "./contract.js";

const url = process.argv[2];
if (url === undefined) throw new Error("usage: node place_order.js URL");
const client = createClient<paths>({ baseUrl: url });
const header = { "Idempotency-Key": "typescript" };
const sku = "FROM-TYPESCRIPT";

function expect(good: boolean, what: string): asserts good {
    if (!good) throw new Error(what);
}

const product = await client.POST("/v1/products", {
    params: { header },
    body: { sku, name: "A mug", price: { amount: 1299, currency: "EUR" } },
});
expect(product.response.status === 201, `createProduct: ${JSON.stringify(product.error)}`);
const received = await client.POST("/v1/stock/{sku}/{location}/receive", {
    params: { header, path: { sku, location: "main" } },
    body: { quantity: 5 },
});
expect(received.data !== undefined, `receiveStock: ${JSON.stringify(received.error)}`);

const placed = await client.POST("/v1/orders", {
    params: { header },
    body: {
        customer_id: "7c0f0c3e-5f3e-4a43-9d3c-2f6f5d5c2b11",
        lines: [{ sku, quantity: 2 }],
        payment_method: "tok_approve",
    },
});
expect(placed.data !== undefined, `placeOrder: ${JSON.stringify(placed.error)}`);
const position: number = placed.data.position;
expect(placed.response.headers.get("X-Commit-Position") === String(position), "the position is said twice, alike");
expect(Number.isSafeInteger(position), `${position} is read exactly`);

const order = await client.GET("/v1/orders/{id}", {
    params: {
        path: { id: placed.data.id },
        query: { until: "settled" },
        header: { "X-Min-Position": position, Prefer: "wait=30" },
    },
});
expect(order.data !== undefined, `showOrder: ${JSON.stringify(order.error)}`);
const { status, payment_status, total, lines } = order.data;
expect(status === "confirmed" && payment_status === "authorized", `${status}, ${payment_status}`);
expect(total.currency === "EUR" && total.amount === placed.data.total.amount, JSON.stringify(total));
expect(lines.length === 1 && lines[0]?.sku === sku && lines[0].unit_price.amount === 1299, JSON.stringify(lines));

const listed = await client.GET("/v1/orders", { params: { query: { status: "confirmed", limit: 200 } } });
expect(listed.data?.items.some((item) => item.id === placed.data.id) === true, "it is in the list");

const refused = await client.POST("/v1/orders/{id}/cancel", {
    params: { header, path: { id: "00000000-0000-4000-8000-000000000000" } },
});
const problem: components["schemas"]["Problem"] | undefined = refused.error;
expect(problem?.type === "/problems/not-found", JSON.stringify(problem));

// A status of a later version is a value of the same type: nothing has to be generated again.
const later: components["schemas"]["OrderStatus"] = "a_status_of_tomorrow";
const tomorrow: components["schemas"]["Order"] = { ...order.data, status: later };
expect(tomorrow.status === "a_status_of_tomorrow", tomorrow.status);
console.log(placed.data.id);
