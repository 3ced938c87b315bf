// The scenarios with @confluentinc/kafka-javascript, which is librdkafka with the interface of kafkajs.

import confluent from "@confluentinc/kafka-javascript";
import {
  BOOTSTRAP, CA, CODECS, PASSWORD, PROTOCOL, SAMPLES, SESSION_TIMEOUT_MS, TOO_LARGE, USERNAME, WAIT_MS,
  absent, expect, expectSamples, groupScenarios, range, run, sleep, until,
} from "../js/matrix.mjs";

const { AdminClient, Producer, KafkaJS: { ErrorCodes, Kafka, PartitionAssigners, logLevel } } = confluent;

const kafka = new Kafka({
  kafkaJS: {
    brokers: [BOOTSTRAP],
    ssl: Boolean(CA),
    sasl: { mechanism: "plain", username: USERNAME, password: PASSWORD },
    logLevel: logLevel.ERROR,
  },
  ...(CA && { "ssl.ca.location": CA }),
});
const admin = kafka.admin();

const createTopic = (topic, numPartitions = 1) =>
  admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] });

async function produce(topic, batches, kafkaJS = {}, more = {}) {
  const producer = kafka.producer({ kafkaJS, ...more });
  await producer.connect();
  try {
    for (const messages of batches) await producer.send({ topic, messages });
  } finally {
    await producer.disconnect();
  }
}

const fill = (topic, partitions, from, to) =>
  produce(topic, [range(0, partitions).flatMap((partition) =>
    range(from, to).map((i) => ({ partition, value: `${i}` })))]);

// A group's member that keeps what it reads and knows which partitions it owns.
async function member(groupId, { topic = groupId, fromBeginning = true, protocol = PROTOCOL, ...more } = {}) {
  // In the consumer protocol the broker has the timeouts, and clients may not.
  const timeouts = { sessionTimeout: SESSION_TIMEOUT_MS, heartbeatInterval: 500 };
  const consumer = kafka.consumer({
    kafkaJS: {
      groupId, fromBeginning, autoCommit: false,
      ...(protocol === "classic" ? { ...timeouts, partitionAssigners: [PartitionAssigners.cooperativeSticky] } : {}),
    },
    "group.protocol": protocol, "fetch.wait.max.ms": 100, ...more,
  });
  const records = [];
  await consumer.connect();
  await consumer.subscribe({ topic });
  await consumer.run({
    eachMessage: async ({ partition, message: { offset, key, value, headers } }) => {
      records.push({ partition, offset: Number(offset), key, value, headers: one(headers) });
    },
  });
  const owned = () => consumer.assignment().map((it) => `${it.topic}-${it.partition}`).sort();
  return { consumer, records, owned, count: () => owned().length, close: () => consumer.disconnect() };
}

// Headers may come more than once, so that each is a list.
const one = (headers) =>
  Object.fromEntries(Object.entries(headers ?? {}).map(([key, value]) => [key, [value].flat()[0]]));

async function read(topic, count) {
  const state = await member(topic);
  await until("how many records", () => state.records.length, count);
  await state.close();
  return state.records;
}

async function create() {
  expect("created", await createTopic("create", 3), true);
  expect("the same again", await createTopic("create", 3), false);
}

async function samples(topic, config) {
  await createTopic(topic);
  await produce(topic, SAMPLES.map((sample) => [{ ...sample, partition: 0 }]), config);
  // It sends an empty value as none.
  expectSamples(await read(topic, 7), null);
}

async function offsets() {
  await createTopic("offsets");
  await fill("offsets", 1, 0, 5);
  const middle = Date.now() + 5;
  await sleep(10);
  await fill("offsets", 1, 5, 10);
  const [{ low, high }] = await admin.fetchTopicOffsets("offsets");
  expect("watermarks", [low, high], ["0", "10"]);
  const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp("offsets", middle);
  expect("offset at a time", offset, "5");
  const latest = await member("offsets", { fromBeginning: false });
  await until("joined", latest.count, 1);
  await sleep(1000);
  expect("read before a write", latest.records, []);
  await fill("offsets", 1, 10, 11);
  await until("latest", () => latest.records.map((it) => it.offset), [10]);
  latest.records.length = 0;
  await latest.consumer.seek({ topic: "offsets", partition: 0, offset });
  await until("from a time", () => latest.records.map((it) => it.offset), range(5, 11));
  await latest.close();
}

async function statics() {
  await createTopic("static", 4);
  const join = (instance) => member("static", { "group.instance.id": instance });
  const [stays, restarts] = [await join("stays"), await join("restarts")];
  await until("shared", () => [stays.count(), restarts.count()], [2, 2]);
  const had = restarts.owned();
  await restarts.close();
  const again = await join("restarts");
  await until("shared again", () => [stays.count(), again.count()], [2, 2]);
  expect("partitions after the restart", again.owned(), had);
  await stays.close();
  await again.close();
}

async function regex() {
  await createTopic("regex-1", 2);
  const reader = await member("regex", { topic: /^regex-[0-9]$/ });
  await until("before", reader.count, 2);
  await createTopic("regex-2", 3);
  await createTopic("regex-none");
  await until("after", reader.count, 5);
  await reader.close();
}

// A live group goes from one protocol to the other and back, and reads each record once.
async function upgrade() {
  await createTopic("upgrade", 4);
  await fill("upgrade", 4, 0, 5);
  const old = await member("upgrade", { protocol: "classic" });
  await until("read before", () => old.records.length, 20);
  await old.consumer.commitOffsets();
  const young = await member("upgrade");
  await until("shared", () => [old.count(), young.count()], [2, 2]);
  await fill("upgrade", 4, 5, 6);
  await until("read by both", () => old.records.length + young.records.length, 24);
  expect("type", await type("upgrade"), 1);
  await old.consumer.commitOffsets();
  await young.consumer.commitOffsets();
  await young.close();
  await until("taken over", old.count, 4);
  expect("type when it has left", await type("upgrade"), 2);
  await sleep(1000);
  expect("read again", old.records.length + young.records.length, 24);
  await old.close();
}

const listed = async (groupId) => (await admin.listGroups()).groups.find((it) => it.groupId === groupId);

const type = async (groupId) => (await listed(groupId)).type;

async function resume() {
  await createTopic("resume");
  await fill("resume", 1, 0, 10);
  const first = await member("resume");
  await until("first", () => first.records.length, 10);
  await first.consumer.commitOffsets([{ topic: "resume", partition: 0, offset: "5" }]);
  await first.close();
  const [{ partitions }] = await admin.fetchOffsets({ groupId: "resume", topics: ["resume"] });
  expect("committed", partitions[0].offset, "5");
  expect("resumed", (await read("resume", 5)).map((it) => it.offset), range(5, 10));
}

async function topics() {
  await createTopic("topics", 3);
  expect("listed", (await admin.listTopics()).includes("topics"), true);
  const described = await admin.fetchTopicMetadata({ topics: ["topics"] });
  const { partitions } = (described.topics ?? described)[0];
  expect("partitions", partitions.map((it) => it.partitionId).sort(), [0, 1, 2]);
}

// Settings of the older of its two interfaces, which has calls and events that the other lacks.
const older = (password) => ({
  "bootstrap.servers": BOOTSTRAP, "security.protocol": "sasl_plaintext",
  "sasl.mechanism": "PLAIN", "sasl.username": USERNAME, "sasl.password": password,
});

async function partitions() {
  await createTopic("partitions");
  const client = AdminClient.create(older(PASSWORD));
  await new Promise((resolve, reject) => {
    client.createPartitions("partitions", 3, WAIT_MS, (error) => (error ? reject(error) : resolve()));
  });
  client.disconnect();
  expect("partitions", (await admin.fetchTopicOffsets("partitions")).length, 3);
}

async function groups() {
  await createTopic("groups");
  const reader = await member("groups");
  await until("joined", reader.count, 1);
  await reader.consumer.commitOffsets([{ topic: "groups", partition: 0, offset: "1" }]);
  const [described] = (await admin.describeGroups(["groups"])).groups;
  expect("described", [described.groupId, described.members.length], ["groups", 1]);
  await reader.close();
  expect("listed", (await listed("groups"))?.groupId, "groups");
  await admin.deleteGroups(["groups"]);
  expect("listed when deleted", await listed("groups"), undefined);
}

async function remove() {
  await createTopic("delete");
  await admin.deleteTopics({ topics: ["delete"] });
  expect("listed", (await admin.listTopics()).includes("delete"), false);
}

async function errorOf(call) {
  try {
    await call();
  } catch (error) {
    return error.code;
  }
  return "none";
}

async function password() {
  const said = [];
  const producer = new Producer(older("wrong"));
  // Nowhere else does it say why it has no connection.
  producer.on("event.log", ({ message }) => said.push(message));
  producer.connect();
  await until("told", () => said.some((it) => it.includes("SASL authentication error")), true);
  producer.disconnect();
}

async function tooLarge() {
  await createTopic("too-large");
  const more = { "message.max.bytes": 10_000_000 };
  const code = await errorOf(() => produce("too-large", [[{ value: TOO_LARGE }]], {}, more));
  expect("error", code, ErrorCodes.ERR_MSG_SIZE_TOO_LARGE);
}

await admin.connect();
run({
  create,
  ...Object.fromEntries(CODECS.map((compression) => [compression, () => samples(compression, { compression })])),
  offsets, ...groupScenarios({ createTopic, fill, read, member }), resume, topics,
  configs: absent("no call about configs"),
  partitions, groups,
  delete: remove,
  password,
  "too-large": tooLarge,
  idempotent: () => samples("idempotent", { idempotent: true }),
  static: statics, regex, upgrade,
}, () => member("crash"));
