// The scenarios with kafkajs. Its codecs beyond gzip are the reader's choice: these are native ones.

import { readFileSync } from "node:fs";
import zstd from "@mongodb-js/zstd";
import kafkajs from "kafkajs";
import lz4 from "lz4-napi";
import snappy from "snappy";
import {
  BOOTSTRAP, CA, CODECS, PASSWORD, SAMPLES, SESSION_TIMEOUT_MS, TOO_LARGE, USERNAME,
  expect, expectSamples, groupScenarios, range, run, sleep, until,
} from "./matrix.mjs";

const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs;

const codec = (compress, decompress) => () => ({
  compress: ({ buffer }) => compress(buffer),
  decompress,
});
CompressionCodecs[CompressionTypes.Snappy] = codec(snappy.compress, snappy.uncompress);
CompressionCodecs[CompressionTypes.LZ4] = codec(lz4.compressFrame, lz4.decompressFrame);
CompressionCodecs[CompressionTypes.ZSTD] = codec(zstd.compress, zstd.decompress);
const COMPRESSION = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD,
};

const connect = (password) => new Kafka({
  brokers: [BOOTSTRAP],
  ssl: CA && { ca: readFileSync(CA) },
  sasl: { mechanism: "plain", username: USERNAME, password },
  logLevel: logLevel.WARN,
});
const kafka = connect(PASSWORD);
const admin = kafka.admin();

async function createTopic(topic, numPartitions = 1) {
  await admin.connect();
  return admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1 }] });
}

async function produce(topic, batches, config = {}, compression = CompressionTypes.None) {
  const producer = kafka.producer(config);
  await producer.connect();
  for (const messages of batches) await producer.send({ topic, messages, compression });
  await producer.disconnect();
}

const fill = (topic, partitions, from, to) =>
  produce(topic, [range(0, partitions).flatMap((partition) =>
    range(from, to).map((i) => ({ partition, value: `${i}` })))]);

// A group's member that keeps what it reads and knows which partitions it owns.
async function member(groupId, { fromBeginning = true, eachMessage = () => {} } = {}) {
  const consumer = kafka.consumer({
    groupId, sessionTimeout: SESSION_TIMEOUT_MS, heartbeatInterval: 500,
    rebalanceTimeout: 5000, maxWaitTimeInMs: 100,
  });
  let owned = 0;
  const state = { consumer, records: [], count: () => owned, close: () => consumer.disconnect() };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    owned = payload.memberAssignment[groupId]?.length ?? 0;
  });
  await consumer.connect();
  await consumer.subscribe({ topic: groupId, fromBeginning });
  await consumer.run({
    autoCommit: false,
    eachMessage: async (it) => {
      const { key, value, headers, offset } = it.message;
      const record = { partition: it.partition, offset: Number(offset), key, value, headers };
      state.records.push(record);
      await eachMessage(state, record);
    },
  });
  return state;
}

async function read(topic, count, options) {
  const state = await member(topic, options);
  await until("how many records", () => state.records.length, count);
  await state.close();
  return state.records;
}

async function create() {
  expect("created", await createTopic("create", 3), true);
  expect("the same again", await createTopic("create", 3), false);
}

async function samples(topic, config, compression) {
  await createTopic(topic);
  await produce(topic, SAMPLES.map((sample) => [{ ...sample, partition: 0 }]), config, compression);
  expectSamples(await read(topic, 7));
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
  await sleep(500);
  expect("read before a write", latest.records, []);
  await fill("offsets", 1, 10, 11);
  await until("latest", () => latest.records.map((it) => it.offset), [10]);
  latest.records.length = 0;
  latest.consumer.seek({ topic: "offsets", partition: 0, offset });
  await until("from a time", () => latest.records.map((it) => it.offset), range(5, 11));
  await latest.close();
}

async function resume() {
  await createTopic("resume");
  await fill("resume", 1, 0, 10);
  const first = await member("resume", {
    eachMessage: async ({ consumer }, { offset, partition }) => {
      if (offset === 4) await consumer.commitOffsets([{ topic: "resume", partition, offset: "5" }]);
    },
  });
  await until("first", () => first.records.length, 10);
  await first.consumer.disconnect();
  const [{ partitions }] = await admin.fetchOffsets({ groupId: "resume", topics: ["resume"] });
  expect("committed", partitions[0].offset, "5");
  expect("resumed", (await read("resume", 5)).map((it) => it.offset), range(5, 10));
}

async function topics() {
  await createTopic("topics", 3);
  expect("listed", (await admin.listTopics()).includes("topics"), true);
  const described = (await admin.fetchTopicMetadata({ topics: ["topics"] })).topics[0].partitions;
  expect("partitions", described.map((it) => it.partitionId).sort(), [0, 1, 2]);
}

async function configs() {
  await createTopic("configs");
  const topic = { type: ConfigResourceTypes.TOPIC, name: "configs" };
  const retention = async () => {
    const said = await admin.describeConfigs({ resources: [topic], includeSynonyms: false });
    return said.resources[0].configEntries.find((it) => it.configName === "retention.ms").configValue;
  };
  expect("before", await retention(), "604800000");
  const configEntries = [{ name: "retention.ms", value: "60000" }];
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...topic, configEntries }] });
  expect("after", await retention(), "60000");
}

async function partitions() {
  await createTopic("partitions");
  await admin.createPartitions({ topicPartitions: [{ topic: "partitions", count: 3 }] });
  expect("partitions", (await admin.fetchTopicOffsets("partitions")).length, 3);
}

async function groups() {
  await createTopic("groups");
  const { consumer } = await member("groups");
  await consumer.commitOffsets([{ topic: "groups", partition: 0, offset: "1" }]);
  const [described] = (await admin.describeGroups(["groups"])).groups;
  expect("described", [described.state, described.members.length], ["Stable", 1]);
  await consumer.disconnect();
  const listed = async () => (await admin.listGroups()).groups.map((it) => it.groupId);
  expect("listed", (await listed()).includes("groups"), true);
  await admin.deleteGroups(["groups"]);
  expect("listed when deleted", (await listed()).includes("groups"), false);
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
    return error.cause?.name === "KafkaJSProtocolError" ? error.cause : error;
  }
  return {};
}

async function password() {
  const error = await errorOf(() => connect("wrong").admin().connect());
  expect("error", error.name, "KafkaJSSASLAuthenticationError");
}

async function tooLarge() {
  await createTopic("too-large");
  const error = await errorOf(() => produce("too-large", [[{ value: TOO_LARGE }]]));
  expect("error", error.type, "MESSAGE_TOO_LARGE");
}

run({
  create,
  ...Object.fromEntries(CODECS.map((name) => [name, () => samples(name, {}, COMPRESSION[name])])),
  offsets, ...groupScenarios({ createTopic, fill, read, member }), resume, topics, configs, partitions, groups,
  delete: remove,
  password,
  "too-large": tooLarge,
  idempotent: () => samples("idempotent", { idempotent: true }),
}, () => member("crash"));
