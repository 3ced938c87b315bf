// `@upstash/kafka`, unchanged, against a running Tidelog.
//
//   TIDELOG_HTTP=http://127.0.0.1:8080 TIDELOG_USERNAME=... TIDELOG_PASSWORD=... node run.mjs
//
// Covers what the client's own tests cover: every call, and their expectations of each. The topics
// are made anew for each run.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import { Kafka } from "@upstash/kafka";

const url = process.env.TIDELOG_HTTP;
const username = process.env.TIDELOG_USERNAME;
const password = process.env.TIDELOG_PASSWORD;
assert(url && username && password, "TIDELOG_HTTP, TIDELOG_USERNAME and TIDELOG_PASSWORD are needed");

const kafka = new Kafka({ url, username, password });
const [producer, consumer, admin] = [kafka.producer(), kafka.consumer(), kafka.admin()];
const [green, blue, red] = ["green", "blue", "red"].map((name) => `${name}-${randomUUID()}`);
const names = () => ({ consumerGroupId: randomUUID(), instanceId: randomUUID() });
const earliest = { autoOffsetReset: "earliest" };

for (const name of [green, blue, red]) {
  const response = await fetch(`${url}/v1/topics`, {
    method: "POST",
    headers: { authorization: `Basic ${btoa(`${username}:${password}`)}` },
    body: JSON.stringify({ name, partitions: 2 }),
  });
  assert.equal(response.status, 201, await response.text());
}

// The client tries a refused call six times, over fifteen seconds; the tests run side by side.
test("upstash", { concurrency: true }, async (t) => {
  const tests = [
    t.test("wrong credentials are refused", async () => {
      const stranger = new Kafka({ url, username, password: "wrong" });
      await assert.rejects(stranger.admin().topics(), { name: "UpstashError", status: 401 });
    }),

    t.test("topics lists every topic", async () => {
      const topics = await admin.topics();
      for (const name of [green, blue, red]) assert.equal(topics[name], 2);
    }),

    t.test("an instance is listed after one consume, and goes when removed", async () => {
      const id = names();
      await consumer.consume({ ...id, topics: [green] });
      const find = async () => {
        const group = (await admin.consumers()).find((it) => it.name === id.consumerGroupId);
        return group?.instances.find((it) => it.name === id.instanceId);
      };
      assert.deepEqual((await find()).topics, [{ topic: green, partitions: [0, 1] }]);
      await admin.removeConsumerInstance(id.consumerGroupId, id.instanceId);
      assert.equal(await find(), undefined);
    }),

    t.test("removing an instance that does not exist fails", async () => {
      const removed = admin.removeConsumerInstance(randomUUID(), randomUUID());
      await assert.rejects(removed, { name: "UpstashError", status: 404 });
    }),

    t.test("committed offsets have one entry for each partition asked for", async () => {
      const id = names();
      await consumer.consume({ ...id, topics: [green, red] });
      const one = { topic: green, partition: 0 };
      const single = await admin.committedOffsets({ ...id, topicPartition: one });
      assert.deepEqual(single.map((it) => [it.topic, typeof it.offset]), [[green, "number"]]);
      const topicPartitions = [one, { topic: red, partition: 1 }];
      const several = await admin.committedOffsets({ ...id, topicPartitions });
      assert.deepEqual(several.map((it) => it.topic), [green, red]);
      await admin.removeConsumerInstance(id.consumerGroupId, id.instanceId);
    }),

    t.test("offsets are found by time", async () => {
      await producer.produce(blue, "for its offset", { partition: 1 });
      const topicPartition = { topic: blue, partition: 1 };
      const timestamp = Math.floor(Date.now() / 1000);
      const found = await admin.topicPartitionOffsets({ timestamp, topicPartition });
      assert.deepEqual(found.map((it) => typeof it.offset), ["number"]);
      const topicPartitions = [topicPartition, { topic: red, partition: 0 }];
      const ends = await admin.topicPartitionOffsets({ timestamp: "latest", topicPartitions });
      assert(ends.length === 2 && ends[0].offset >= 1);
    }),

    t.test("the very first consume finds what was just produced", async () => {
      const [id, value] = [names(), randomUUID()];
      await producer.produce(green, value);
      const started = performance.now();
      const found = await consumer.consume({ ...id, topics: [green], ...earliest });
      console.log(`first consume: ${(performance.now() - started).toFixed(1)} ms`);
      assert(found.some((it) => it.value === value));
      await admin.removeConsumerInstance(id.consumerGroupId, id.instanceId);
    }),

    t.test("one instance reads two topics without committing", async () => {
      const [id, values] = [names(), [randomUUID(), randomUUID()]];
      await producer.produce(green, values[0]);
      await producer.produce(red, values[1]);
      const options = { autoCommit: false, autoCommitInterval: 7000, ...earliest };
      const seen = new Set();
      for (let calls = 0; calls < 30 && !values.every((it) => seen.has(it)); calls++) {
        const found = await consumer.consume({ ...id, topics: [green, red], ...options });
        found.forEach((it) => seen.add(it.value));
      }
      assert(values.every((it) => seen.has(it)));
      await admin.removeConsumerInstance(id.consumerGroupId, id.instanceId);
    }),

    t.test("a commit stores the offset it is given, and by default what was consumed", async () => {
      const id = names();
      const { partition, offset } = await producer.produce(blue, randomUUID());
      const place = { topic: blue, partition };
      const committed = async () => {
        const [it] = await consumer.committed({ ...id, topicPartitions: [place] });
        return it.offset;
      };
      await consumer.consume({ ...id, topics: [blue], autoCommit: false, autoOffsetReset: "latest" });
      assert.equal(await committed(), -1);
      await consumer.commit({ ...id, offset: { ...place, offset } });
      assert.equal(await committed(), offset);
      const next = await producer.produce(blue, randomUUID(), { partition });
      const found = await consumer.consume({ ...id, topics: [blue], autoCommit: false });
      assert(found.some((it) => it.offset === next.offset));
      await consumer.commit(id);
      assert.equal(await committed(), found.findLast((it) => it.partition === partition).offset + 1);
      await admin.removeConsumerInstance(id.consumerGroupId, id.instanceId);
    }),

    t.test("fetch finds a message and its header where it was produced", async () => {
      const header = { key: "signature", value: "abcd" };
      for (const message of ["text", { an: "object" }]) {
        const at = await producer.produce(blue, message, { headers: [header] });
        const [found] = await consumer.fetch({ ...at, timeout: 1000 });
        const value = typeof message === "string" ? message : JSON.stringify(message);
        assert.deepEqual([found.value, found.headers, found.offset], [value, [header], at.offset]);
      }
    }),

    t.test("produceMany reaches several topics, and fetch reads them in order", async () => {
      const messages = [
        { topic: red, value: randomUUID(), key: "a key" },
        { topic: green, value: { n: randomUUID() } },
      ];
      const topicPartitionOffsets = await producer.produceMany(messages);
      for (const options of [undefined, { parallel: false }]) {
        const found = await consumer.fetch({ topicPartitionOffsets }, options);
        const at = (index) => found.find((it) => it.offset === topicPartitionOffsets[index].offset &&
          it.topic === messages[index].topic);
        assert.equal(at(0).value, messages[0].value);
        assert.equal(at(0).key, "a key");
        assert.equal(at(1).value, JSON.stringify(messages[1].value));
        assert.equal(at(1).key, "");
      }
    }),
  ];
  await Promise.all(tests);
});
