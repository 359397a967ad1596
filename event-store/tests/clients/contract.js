// The official Node client against a served log: `node contract.js kurrentdb://127.0.0.1:PORT?tls=false`, with NODE_PATH
// naming the folder of modules. Exits with 0 if all went as with a KurrentDB; `event-store/tests/serve/official_node.rs`
// looks into the log afterwards.
"use strict";

const assert = require("node:assert/strict");
const {
  AccessDeniedError,
  ANY,
  BACKWARDS,
  END,
  jsonEvent,
  binaryEvent,
  KurrentDBClient,
  NO_STREAM,
  START,
  STREAM_EXISTS,
  StreamNotFoundError,
  streamNameFilter,
  eventTypeFilter,
  WrongExpectedVersionError,
} = require("@kurrent/kurrentdb-client");

const id = (number) => `00000000-0000-0000-0000-${number.toString(16).padStart(12, "0")}`;
const event = (number) => jsonEvent({ id: id(number), type: "Happened", data: { number } });
const collect = async (read) => {
  const found = [];
  for await (const resolved of read) found.push(resolved.event);
  return found;
};
const revisions = (events) => events.map((it) => Number(it.revision));
const positions = (events) => events.map((it) => Number(it.position.commit));

async function appending(client, credentials) {
  // Without credentials the client uses BatchAppend, with them Append.
  const first = await client.appendToStream("order-1", event(1), { streamState: NO_STREAM });
  assert.deepEqual([first.success, first.nextExpectedRevision, first.position.commit], [true, 0n, 1n]);
  const second = await client.appendToStream("order-1", [event(2), event(3)], { streamState: 0n, credentials });
  assert.deepEqual([second.success, second.nextExpectedRevision, second.position.commit], [true, 2n, 3n]);
  await client.appendToStream("order-2", event(4), { streamState: ANY });
  await client.appendToStream("order-2", event(5), { streamState: STREAM_EXISTS });
  const again = await client.appendToStream("order-1", event(1), { streamState: NO_STREAM });
  assert.deepEqual([again.nextExpectedRevision, again.position.commit], [0n, 1n]);
  for (const more of [{}, { credentials }]) {
    await assert.rejects(client.appendToStream("order-1", event(90), { streamState: 7n, ...more }), (why) => {
      assert.ok(why instanceof WrongExpectedVersionError, why);
      assert.equal(why.actualState, 2n);
      return true;
    });
  }
  const binary = binaryEvent({ type: "Happened", data: Buffer.from([0]) });
  await assert.rejects(client.appendToStream("order-3", binary), /application\/octet-stream/);
  await assert.rejects(client.appendToStream("order-3", binary, { credentials }), /application\/octet-stream/);
  await assert.rejects(client.deleteStream("order-1"), AccessDeniedError);
  await assert.rejects(client.tombstoneStream("order-1"), AccessDeniedError);
  await assert.rejects(client.setStreamMetadata("order-1", { maxCount: 1 }), AccessDeniedError);
}

async function reading(client) {
  const all = await collect(client.readStream("order-1"));
  assert.deepEqual(revisions(all), [0, 1, 2]);
  assert.deepEqual([all[0].id, all[0].type, all[0].streamId, all[0].isJson], [id(1), "Happened", "order-1", true]);
  assert.deepEqual(all[0].data, { number: 1 });
  assert.equal(all[0].metadata.$correlationId, id(1));
  const backwards = client.readStream("order-1", { direction: BACKWARDS, fromRevision: END, maxCount: 2 });
  assert.deepEqual(revisions(await collect(backwards)), [2, 1]);
  assert.deepEqual(revisions(await collect(client.readStream("order-1", { fromRevision: 1n }))), [1, 2]);
  await assert.rejects(collect(client.readStream("order-9")), StreamNotFoundError);
  assert.deepEqual(positions(await collect(client.readAll())), [1, 2, 3, 4, 5]);
  const before = client.readAll({ direction: BACKWARDS, fromPosition: { commit: 3n, prepare: 3n } });
  assert.deepEqual(positions(await collect(before)), [2, 1]);
  const filter = streamNameFilter({ prefixes: ["order-2"] });
  assert.deepEqual(positions(await collect(client.readAll({ filter }))), [4, 5]);
}

// What a subscription tells, until it is enough.
function told(subscription) {
  const log = [];
  let wake = () => {};
  const tell = (what) => { log.push(what); wake(); };
  subscription.on("confirmation", () => tell("confirmed"));
  subscription.on("caughtUp", () => tell("caught up"));
  subscription.on("data", (resolved) => tell(`${resolved.event.streamId}@${resolved.event.revision}`));
  subscription.on("error", (why) => tell(`failed: ${why}`));
  const has = async (what) => {
    while (!log.includes(what)) {
      const failed = log.find((line) => line.startsWith("failed"));
      assert.ok(!failed, failed);
      await new Promise((resolve) => { wake = resolve; });
    }
    return log;
  };
  return { has };
}

async function following(client) {
  const stream = client.subscribeToStream("order-1", { fromRevision: 0n });
  const checkpoints = [];
  const filter = eventTypeFilter({
    regex: "^Happ",
    maxSearchWindow: 2,
    checkpointInterval: 1,
    checkpointReached: async (_, position) => { checkpoints.push(Number(position.commit)); },
  });
  const all = client.subscribeToAll({ fromPosition: START, filter });
  const [ofStream, ofAll] = [told(stream), told(all)];
  assert.deepEqual(await ofStream.has("caught up"), ["confirmed", "order-1@1", "order-1@2", "caught up"]);
  await ofAll.has("caught up");
  assert.deepEqual(checkpoints.slice(0, 2), [2, 4]);
  await client.appendToStream("order-1", event(6), { streamState: 2n });
  await client.appendToStream("order-2", event(7), { streamState: 1n });
  await ofStream.has("order-1@3");
  await ofAll.has("order-2@2");
  await Promise.all([stream.unsubscribe(), all.unsubscribe()]);
}

async function manyAtOnce(client) {
  const appends = Array.from({ length: 500 }, (_, n) => client.appendToStream(`order-many-${n % 10}`, event(1000 + n)));
  const answers = await Promise.all(appends);
  assert.ok(answers.every((answer) => answer.success));
  assert.equal(new Set(answers.map((answer) => answer.position.commit)).size, 500);
}

async function main() {
  const client = KurrentDBClient.connectionString(process.argv[2]);
  const credentials = { username: "anybody", password: "anything" };
  await appending(client, credentials);
  console.log("appending ok");
  await reading(client);
  console.log("reading ok");
  await following(client);
  console.log("following ok");
  await manyAtOnce(client);
  console.log("many at once ok");
  await client.dispose();
}

main().then(
  () => process.exit(0),
  (why) => {
    console.error(why);
    process.exit(1);
  },
);
