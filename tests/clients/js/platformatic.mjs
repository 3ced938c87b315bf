// The scenarios with @platformatic/kafka, which needs a newer Node.js than others: `run` gives it one.

import { readFileSync } from "node:fs";
import { Admin, ConfigResourceTypes, Consumer, ListOffsetTimestamps, Producer } from "@platformatic/kafka";
import {
  BOOTSTRAP, CA, CODECS, PASSWORD, PROTOCOL, SAMPLES, SESSION_TIMEOUT_MS, TOO_LARGE, USERNAME,
  absent, expect, expectSamples, groupScenarios, range, run, sleep, until,
} from "./matrix.mjs";

const connect = (password) => ({
  clientId: "matrix",
  bootstrapBrokers: [BOOTSTRAP],
  ...(CA && { tls: { ca: readFileSync(CA) } }),
  sasl: { mechanism: "PLAIN", username: USERNAME, password },
});
const base = connect(PASSWORD);
const admin = new Admin(base);

const createTopic = (topic, partitions = 1) => admin.createTopics({ topics: [topic], partitions, replicas: 1 });

async function produce(topic, batches, options = {}) {
  const producer = new Producer({ ...base, ...options });
  for (const messages of batches) {
    await producer.send({ messages: messages.map((it) => ({ topic, ...it })), acks: -1 });
  }
  await producer.close();
}

const fill = (topic, partitions, from, to) =>
  produce(topic, [range(0, partitions).flatMap((partition) =>
    range(from, to).map((i) => ({ partition, value: Buffer.from(`${i}`) })))]);

const text = (map) => Object.fromEntries([...map].map(([key, value]) => [key.toString(), value]));

// Of groups in which members have the timeouts, and not the broker.
const CLASSIC = { sessionTimeout: SESSION_TIMEOUT_MS, heartbeatInterval: 500, rebalanceTimeout: 6000 };

// A group's member that keeps what it reads and knows which partitions it owns.
async function member(groupId, mode = "earliest", more = {}) {
  const consumer = new Consumer({
    ...base, groupId, groupProtocol: PROTOCOL, autocommit: false, maxWaitTime: 100,
    ...(PROTOCOL === "classic" ? CLASSIC : {}), ...more,
  });
  const stream = await consumer.consume({ topics: [groupId], mode: "committed", fallbackMode: mode });
  const state = { consumer, records: [] };
  stream.on("error", (error) => console.error(error));
  stream.on("data", ({ partition, offset, key, value, headers }) => {
    const record = { partition, offset: Number(offset), key: key ?? null, value: value ?? null };
    state.records.push({ ...record, headers: text(headers) });
  });
  return {
    ...state,
    count: () => (consumer.assignments ?? []).reduce((sum, it) => sum + it.partitions.length, 0),
    close: () => consumer.close(true),
  };
}

async function read(topic, count) {
  const state = await member(topic);
  await until("how many records", () => state.records.length, count);
  await state.close();
  return state.records;
}

async function create() {
  const [{ partitions }] = await createTopic("create", 3);
  expect("partitions", partitions, 3);
  const errors = await errorsOf(() => createTopic("create", 3));
  expect("the same again", errors.includes("TOPIC_ALREADY_EXISTS"), true);
}

async function samples(topic, options) {
  await createTopic(topic);
  const batches = SAMPLES.map(({ key, value, headers }) => [
    { partition: 0, key: key ?? undefined, value: value ?? undefined, headers: bytes(headers) },
  ]);
  await produce(topic, batches, options);
  expectSamples(await read(topic, 7));
}

const bytes = (headers) => new Map(Object.entries(headers).map(([key, value]) => [Buffer.from(key), value]));

const at = async (timestamp) => {
  const topics = [{ name: "offsets", partitions: [{ partitionIndex: 0, timestamp }] }];
  const [{ partitions }] = await admin.listOffsets({ topics });
  return Number(partitions[0].offset);
};

async function offsets() {
  await createTopic("offsets");
  await fill("offsets", 1, 0, 5);
  const middle = Date.now() + 5;
  await sleep(10);
  await fill("offsets", 1, 5, 10);
  const { EARLIEST, LATEST } = ListOffsetTimestamps;
  expect("offsets", [await at(EARLIEST), await at(LATEST), await at(BigInt(middle))], [0, 10, 5]);
  const consumer = new Consumer({ ...base, groupId: "offsets", maxWaitTime: 100, autocommit: false });
  const stream = await consumer.consume({
    topics: ["offsets"], mode: "manual", offsets: [{ topic: "offsets", partition: 0, offset: 5n }],
  });
  const got = [];
  stream.on("data", ({ offset }) => got.push(Number(offset)));
  await until("from a time", () => got, range(5, 10));
  await consumer.close(true);
  const latest = await member("offsets", "latest");
  await until("joined", latest.count, 1);
  await sleep(500);
  expect("read before a write", latest.records, []);
  await fill("offsets", 1, 10, 11);
  await until("latest", () => latest.records.map((it) => it.offset), [10]);
  await latest.close();
}

async function statics() {
  await createTopic("static", 4);
  const join = (groupInstanceId) => member("static", "earliest", { groupInstanceId });
  const [stays, restarts] = [await join("stays"), await join("restarts")];
  await until("shared", () => [stays.count(), restarts.count()], [2, 2]);
  const had = restarts.consumer.assignments;
  await restarts.close();
  const again = await join("restarts");
  await until("shared again", () => [stays.count(), again.count()], [2, 2]);
  expect("partitions after the restart", again.consumer.assignments, had);
  await stays.close();
  await again.close();
}

async function resume() {
  await createTopic("resume");
  await fill("resume", 1, 0, 10);
  const first = await member("resume");
  await until("first", () => first.records.length, 10);
  await first.consumer.commit({ offsets: [{ topic: "resume", partition: 0, offset: 5n, leaderEpoch: 0 }] });
  await first.close();
  const [{ topics }] = await admin.listConsumerGroupOffsets({ groups: ["resume"] });
  expect("committed", Number(topics[0].partitions[0].committedOffset), 5);
  expect("resumed", (await read("resume", 5)).map((it) => it.offset), range(5, 10));
}

async function topics() {
  await createTopic("topics", 3);
  expect("listed", (await admin.listTopics()).includes("topics"), true);
  const described = (await admin.metadata({ topics: ["topics"] })).topics.get("topics");
  expect("partitions", described.partitionsCount, 3);
}

async function configs() {
  await createTopic("configs");
  const topic = { resourceType: ConfigResourceTypes.TOPIC, resourceName: "configs" };
  const retention = async () => {
    const [{ configs }] = await admin.describeConfigs({ resources: [topic] });
    return configs.find((it) => it.name === "retention.ms").value;
  };
  expect("before", await retention(), "604800000");
  const set = { name: "retention.ms", configOperation: 0, value: "60000" };
  await admin.incrementalAlterConfigs({ resources: [{ ...topic, configs: [set] }] });
  expect("after", await retention(), "60000");
}

async function partitions() {
  await createTopic("partitions");
  await admin.createPartitions({ topics: [{ name: "partitions", count: 3 }] });
  const { topics } = await admin.metadata({ topics: ["partitions"], forceUpdate: true });
  expect("partitions", topics.get("partitions").partitionsCount, 3);
}

async function groups() {
  await createTopic("groups");
  const reader = await member("groups");
  await until("joined", reader.count, 1);
  await reader.consumer.commit({ offsets: [{ topic: "groups", partition: 0, offset: 1n, leaderEpoch: 0 }] });
  const listed = async () => (await admin.listGroups({ types: [PROTOCOL] })).get("groups");
  expect("listed", (await listed()).state, "Stable");
  if (PROTOCOL === "classic") {
    const described = (await admin.describeGroups({ groups: ["groups"] })).get("groups");
    expect("described", [described.state, described.members.size], ["Stable", 1]);
  }
  await reader.close();
  await admin.deleteGroups({ groups: ["groups"] });
  expect("listed when deleted", await listed(), undefined);
}

async function remove() {
  await createTopic("delete");
  await admin.deleteTopics({ topics: ["delete"] });
  expect("listed", (await admin.listTopics()).includes("delete"), false);
}

// What an error says, with what led to it: its codes, and Kafka's names of errors.
async function errorsOf(call) {
  try {
    await call();
  } catch (error) {
    return codes(error);
  }
  return [];
}

const codes = (error) =>
  error ? [error.code, error.apiId, ...[error.cause, ...(error.errors ?? [])].flatMap(codes)] : [];

async function password() {
  const errors = await errorsOf(() => new Admin({ ...connect("wrong"), retries: 0 }).listTopics());
  expect("error", errors.includes("PLT_KFK_AUTHENTICATION"), true);
}

async function tooLarge() {
  await createTopic("too-large");
  const errors = await errorsOf(() => produce("too-large", [[{ value: TOO_LARGE }]]));
  expect("error", errors.includes("MESSAGE_TOO_LARGE"), true);
}

run({
  create,
  ...Object.fromEntries(CODECS.map((compression) => [compression, () => samples(compression, { compression })])),
  offsets, ...groupScenarios({ createTopic, fill, read, member }), resume, topics, configs, partitions, groups,
  delete: remove,
  password,
  "too-large": tooLarge,
  idempotent: () => samples("idempotent", { idempotent: true }),
  static: statics,
  regex: absent("no subscription by expression"),
  // Asked to come back, its classic member asks for offsets at the epoch it has left, and ends.
  upgrade: absent("its classic member does not outlive the change"),
}, () => member("crash"));
