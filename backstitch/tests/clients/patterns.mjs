// Which texts the patterns of the contract take, by ECMA-262 with the flag `u`, as JSON Schema reads them: a line for each
// pattern. patterns.py says the same.
//
// Usage: node patterns.mjs CONTRACT
import { readFileSync } from "node:fs";

const TEXTS = [
    "", " ", "a", "order-1", "TSHIRT-M", "EUR", "XAU", '"3"', '"a b"', "data.sku=MUG", "5m", "4QX9K2M7R1TB", "Zoë", "👩‍👩‍👧",
    "\u200eשלום", "a\tb", "a\nb", "a\x1b[2J", "a\x9bb", "a\u202eb", "a\u2066b", "\u00a0", "\u3000",
];

const found = new Set();
const look = (value) => {
    if (value === null || typeof value !== "object") return;
    if (typeof value.pattern === "string") found.add(value.pattern);
    Object.values(value).forEach(look);
};
look(JSON.parse(readFileSync(process.argv[2], "utf8")));

for (const pattern of [...found].sort()) {
    const taken = TEXTS.map((text) => (new RegExp(pattern, "u").test(text) ? "1" : "0")).join("");
    console.log(taken, pattern);
}
