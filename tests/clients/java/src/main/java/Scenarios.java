import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The scenarios with Java's kafka-clients. */
public final class Scenarios {
    private static final int SESSION_TIMEOUT_MS = 6000;
    private static final String PROTOCOL = System.getenv().getOrDefault("TIDELOG_GROUP_PROTOCOL", "classic");

    private final Admin admin = Admin.create(login(Map.of()));

    public static void main(String[] arguments) {
        if (arguments.length == 1 && arguments[0].equals("member")) {
            KafkaConsumer<byte[], byte[]> member = member("crash");
            while (true) member.poll(Duration.ofSeconds(1));
        }
        Matrix.run(arguments, new Scenarios().all());
        System.exit(0);
    }

    private Map<String, Matrix.Scenario> all() {
        Map<String, Matrix.Scenario> all = new LinkedHashMap<>();
        all.put("create", this::create);
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            all.put(codec, () -> samples(codec, Map.of("compression.type", codec)));
        }
        all.put("offsets", this::offsets);
        all.put("group", this::group);
        all.put("rebalance", this::rebalance);
        all.put("crash", this::crash);
        all.put("resume", this::resume);
        all.put("topics", this::topics);
        all.put("configs", this::configs);
        all.put("partitions", this::partitions);
        all.put("groups", this::groups);
        all.put("delete", this::delete);
        all.put("password", this::password);
        all.put("too-large", this::tooLarge);
        all.put("idempotent", () -> samples("idempotent", Map.of("enable.idempotence", true)));
        all.put("static", this::statics);
        all.put("regex", this::regex);
        all.put("upgrade", this::upgrade);
        return all;
    }

    private static Map<String, Object> login(Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", System.getenv("TIDELOG_BOOTSTRAP"));
        String authority = System.getenv("TIDELOG_CA");
        config.put("security.protocol", authority == null ? "SASL_PLAINTEXT" : "SASL_SSL");
        if (authority != null) {
            config.put("ssl.truststore.type", "PEM");
            config.put("ssl.truststore.location", authority);
        }
        config.put("sasl.mechanism", "PLAIN");
        config.put("sasl.jaas.config", jaas(System.getenv("TIDELOG_PASSWORD")));
        config.put("default.api.timeout.ms", (int) Matrix.WAIT_MS);
        config.putAll(more);
        return config;
    }

    private static String jaas(String password) {
        return "org.apache.kafka.common.security.plain.PlainLoginModule required username=\""
            + System.getenv("TIDELOG_USERNAME") + "\" password=\"" + password + "\";";
    }

    private static <T> T get(KafkaFuture<T> future) throws Exception {
        try {
            return future.get(Matrix.WAIT_MS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException error) {
            throw (Exception) error.getCause();
        }
    }

    private void createTopic(String topic, int partitions) throws Exception {
        get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all());
    }

    private static KafkaProducer<byte[], byte[]> producer(Map<String, Object> config) {
        return new KafkaProducer<>(login(config), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static void fill(String topic, int partitions, int from, int to) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            for (int partition = 0; partition < partitions; partition++) {
                for (int i = from; i < to; i++) {
                    producer.send(new ProducerRecord<>(topic, partition, null, Matrix.utf8("" + i))).get();
                }
            }
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(Map<String, Object> more) {
        Map<String, Object> config = login(Map.of(
            "auto.offset.reset", "earliest", "enable.auto.commit", false, "group.protocol", PROTOCOL));
        config.putAll(more);
        // In the consumer protocol the broker has the timeouts, and clients may not.
        if (config.get("group.protocol").equals("classic")) {
            config.putAll(Map.of("session.timeout.ms", SESSION_TIMEOUT_MS, "heartbeat.interval.ms", 500));
        }
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static KafkaConsumer<byte[], byte[]> member(String group) {
        KafkaConsumer<byte[], byte[]> member = consumer(Map.of("group.id", group, "max.poll.records", 5));
        member.subscribe(List.of(group));
        return member;
    }

    private static KafkaConsumer<byte[], byte[]> member(String group, Map<String, Object> more) {
        Map<String, Object> config = new HashMap<>(Map.of("group.id", group));
        config.putAll(more);
        KafkaConsumer<byte[], byte[]> member = consumer(config);
        member.subscribe(List.of(group));
        return member;
    }

    private static List<ConsumerRecord<byte[], byte[]>> poll(KafkaConsumer<byte[], byte[]> reader, int count) {
        return poll(reader, count, Matrix.WAIT_MS);
    }

    private static List<ConsumerRecord<byte[], byte[]>> poll(
            KafkaConsumer<byte[], byte[]> reader, int count, long waitMs) {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        long deadline = System.currentTimeMillis() + waitMs;
        while (records.size() < count && System.currentTimeMillis() < deadline) {
            reader.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        return records;
    }

    private static List<Long> pollOffsets(KafkaConsumer<byte[], byte[]> reader, int count) {
        return poll(reader, count).stream().map(ConsumerRecord::offset).toList();
    }

    /** Polls the members until they own as many partitions as wanted. */
    private static void untilOwned(List<KafkaConsumer<byte[], byte[]>> members, int each) {
        long deadline = System.currentTimeMillis() + Matrix.WAIT_MS;
        List<Integer> owned = List.of();
        while (!owned.equals(members.stream().map(member -> each).toList()) && System.currentTimeMillis() < deadline) {
            members.forEach(member -> member.poll(Duration.ofMillis(100)));
            owned = members.stream().map(member -> member.assignment().size()).toList();
        }
        Matrix.expect("partitions owned", owned, members.stream().map(member -> each).toList());
    }

    private void create() throws Exception {
        createTopic("create", 3);
        try {
            createTopic("create", 3);
        } catch (TopicExistsException expected) {
            return;
        }
        throw new AssertionError("the same again was not refused");
    }

    private void samples(String topic, Map<String, Object> config) throws Exception {
        createTopic(topic, 1);
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            for (Matrix.Sample it : Matrix.SAMPLES) {
                producer.send(new ProducerRecord<>(topic, 0, it.key(), it.value(), it.headers())).get();
            }
        }
        try (KafkaConsumer<byte[], byte[]> reader = consumer(Map.of())) {
            TopicPartition partition = new TopicPartition(topic, 0);
            reader.assign(List.of(partition));
            reader.seekToBeginning(List.of(partition));
            Matrix.expectSamples(poll(reader, 7));
        }
    }

    private void offsets() throws Exception {
        createTopic("offsets", 1);
        fill("offsets", 1, 0, 5);
        long middle = System.currentTimeMillis() + 5;
        Thread.sleep(10);
        fill("offsets", 1, 5, 10);
        TopicPartition partition = new TopicPartition("offsets", 0);
        try (KafkaConsumer<byte[], byte[]> reader = consumer(Map.of())) {
            reader.assign(List.of(partition));
            Matrix.expect("earliest", pollOffsets(reader, 10).size(), 10);
            long found = reader.offsetsForTimes(Map.of(partition, middle)).get(partition).offset();
            Matrix.expect("offset at a time", found, 5L);
            reader.seek(partition, found);
            Matrix.expect("read from there", pollOffsets(reader, 5), List.of(5L, 6L, 7L, 8L, 9L));
            reader.seekToEnd(List.of(partition));
            Matrix.expect("end", reader.position(partition), 10L);
            fill("offsets", 1, 10, 11);
            Matrix.expect("latest", pollOffsets(reader, 1), List.of(10L));
        }
    }

    private void group() throws Exception {
        createTopic("group", 3);
        fill("group", 3, 0, 5);
        Collection<String> got = new TreeSet<>(), wanted = new TreeSet<>();
        try (KafkaConsumer<byte[], byte[]> reader = member("group")) {
            List<ConsumerRecord<byte[], byte[]>> records = poll(reader, 15);
            Matrix.expect("how many records", records.size(), 15);
            for (ConsumerRecord<byte[], byte[]> it : records) {
                got.add(it.partition() + " " + it.offset() + " " + new String(it.value()));
            }
        }
        for (int i = 0; i < 15; i++) wanted.add(i / 5 + " " + i % 5 + " " + i % 5);
        Matrix.expect("records", got, wanted);
    }

    private void rebalance() throws Exception {
        createTopic("rebalance", 4);
        KafkaConsumer<byte[], byte[]> stays = member("rebalance"), leaves = member("rebalance");
        untilOwned(List.of(stays, leaves), 2);
        leaves.close();
        untilOwned(List.of(stays), 4);
        stays.close();
    }

    private void crash() throws Exception {
        createTopic("crash", 4);
        Process crashes = Matrix.startMember();
        try (KafkaConsumer<byte[], byte[]> stays = member("crash")) {
            untilOwned(List.of(stays), 2);
            crashes.destroyForcibly();
            untilOwned(List.of(stays), 4);
        } finally {
            crashes.destroyForcibly();
        }
    }

    private void statics() throws Exception {
        createTopic("static", 4);
        Map<String, Object> stays = Map.of("group.instance.id", "stays");
        Map<String, Object> restarts = Map.of("group.instance.id", "restarts");
        try (KafkaConsumer<byte[], byte[]> other = member("static", stays)) {
            KafkaConsumer<byte[], byte[]> first = member("static", restarts);
            untilOwned(List.of(other, first), 2);
            var had = first.assignment();
            first.close();
            try (KafkaConsumer<byte[], byte[]> second = member("static", restarts)) {
                untilOwned(List.of(other, second), 2);
                Matrix.expect("partitions after the restart", second.assignment(), had);
            }
        }
    }

    private void regex() throws Exception {
        createTopic("regex-1", 2);
        try (KafkaConsumer<byte[], byte[]> reader = consumer(Map.of("group.id", "regex"))) {
            // Of kafka-clients 4, by reflection because this is compiled with 3 as well.
            Class<?> pattern = Class.forName("org.apache.kafka.clients.consumer.SubscriptionPattern");
            Object expression = pattern.getConstructor(String.class).newInstance("regex-[0-9]");
            KafkaConsumer.class.getMethod("subscribe", pattern).invoke(reader, expression);
            untilOwned(List.of(reader), 2);
            createTopic("regex-2", 3);
            createTopic("regex-none", 1);
            untilOwned(List.of(reader), 5);
        }
    }

    /** A live group goes from one protocol to the other and back, and reads each record once. */
    private void upgrade() throws Exception {
        createTopic("upgrade", 4);
        fill("upgrade", 4, 0, 5);
        Map<String, Object> classic = Map.of("group.protocol", "classic", "partition.assignment.strategy",
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        try (KafkaConsumer<byte[], byte[]> old = member("upgrade", classic)) {
            Matrix.expect("read before", poll(old, 20).size(), 20);
            old.commitSync();
            KafkaConsumer<byte[], byte[]> young = member("upgrade", Map.of());
            untilOwned(List.of(old, young), 2);
            Matrix.expect("type", groupType("upgrade"), "Consumer");
            young.close();
            untilOwned(List.of(old), 4);
            Matrix.expect("type when it has left", groupType("upgrade"), "Classic");
            fill("upgrade", 4, 5, 6);
            Matrix.expect("read after", poll(old, 4).size(), 4);
            Matrix.expect("read again", poll(old, 1, 1000).size(), 0);
        }
    }

    private String groupType(String group) throws Exception {
        var listed = get(admin.listConsumerGroups().all()).stream().filter(it -> it.groupId().equals(group));
        return listed.findFirst().flatMap(ConsumerGroupListing::type).map(Object::toString).orElse("none");
    }

    private void resume() throws Exception {
        createTopic("resume", 1);
        fill("resume", 1, 0, 10);
        TopicPartition partition = new TopicPartition("resume", 0);
        try (KafkaConsumer<byte[], byte[]> first = member("resume")) {
            Matrix.expect("first", pollOffsets(first, 5), List.of(0L, 1L, 2L, 3L, 4L));
            first.commitSync();
        }
        try (KafkaConsumer<byte[], byte[]> second = member("resume")) {
            Matrix.expect("resumed", pollOffsets(second, 5), List.of(5L, 6L, 7L, 8L, 9L));
            OffsetAndMetadata committed = second.committed(java.util.Set.of(partition)).get(partition);
            Matrix.expect("committed", committed.offset(), 5L);
        }
    }

    private void topics() throws Exception {
        createTopic("topics", 3);
        Matrix.expect("listed", get(admin.listTopics().names()).contains("topics"), true);
        var described = get(admin.describeTopics(List.of("topics")).allTopicNames()).get("topics");
        List<Integer> got = described.partitions().stream().map(it -> it.partition() + it.isr().size()).toList();
        Matrix.expect("partitions", got, List.of(1, 2, 3));
        Matrix.expect("nodes", get(admin.describeCluster().nodes()).size(), 1);
    }

    private void configs() throws Exception {
        createTopic("configs", 1);
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, "configs");
        Matrix.expect("before", retention(topic), "604800000");
        var set = new AlterConfigOp(new ConfigEntry("retention.ms", "60000"), AlterConfigOp.OpType.SET);
        get(admin.incrementalAlterConfigs(Map.of(topic, List.of(set))).all());
        Matrix.expect("after", retention(topic), "60000");
    }

    private String retention(ConfigResource topic) throws Exception {
        return get(admin.describeConfigs(List.of(topic)).all()).get(topic).get("retention.ms").value();
    }

    private void partitions() throws Exception {
        createTopic("partitions", 1);
        get(admin.createPartitions(Map.of("partitions", NewPartitions.increaseTo(3))).all());
        var described = get(admin.describeTopics(List.of("partitions")).allTopicNames());
        Matrix.expect("partitions", described.get("partitions").partitions().size(), 3);
    }

    private void groups() throws Exception {
        createTopic("groups", 1);
        fill("groups", 1, 0, 1);
        try (KafkaConsumer<byte[], byte[]> reader = member("groups")) {
            poll(reader, 1);
            reader.commitSync();
            ConsumerGroupDescription described = get(admin.describeConsumerGroups(List.of("groups")).all()).get("groups");
            Matrix.expect("members", described.members().size(), 1);
            int assigned = described.members().iterator().next().assignment().topicPartitions().size();
            Matrix.expect("assigned", assigned, 1);
        }
        Matrix.expect("listed", groupIds().contains("groups"), true);
        var offsets = get(admin.listConsumerGroupOffsets("groups").partitionsToOffsetAndMetadata());
        Matrix.expect("offsets", offsets.values().stream().map(OffsetAndMetadata::offset).toList(), List.of(1L));
        get(admin.deleteConsumerGroups(List.of("groups")).all());
        Matrix.expect("listed when deleted", groupIds().contains("groups"), false);
    }

    private List<String> groupIds() throws Exception {
        return get(admin.listConsumerGroups().all()).stream().map(ConsumerGroupListing::groupId).toList();
    }

    private void delete() throws Exception {
        createTopic("delete", 1);
        get(admin.deleteTopics(List.of("delete")).all());
        Matrix.expect("listed", get(admin.listTopics().names()).contains("delete"), false);
    }

    private void password() throws Exception {
        try (Admin wrong = Admin.create(login(Map.of("sasl.jaas.config", jaas("wrong"))))) {
            get(wrong.listTopics().names());
        } catch (SaslAuthenticationException expected) {
            return;
        }
        throw new AssertionError("a wrong password was accepted");
    }

    private void tooLarge() throws Exception {
        createTopic("too-large", 1);
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of("max.request.size", 10_000_000))) {
            producer.send(new ProducerRecord<>("too-large", Matrix.TOO_LARGE)).get();
        } catch (ExecutionException error) {
            if (error.getCause() instanceof RecordTooLargeException) return;
            throw error;
        }
        throw new AssertionError("a record too large was accepted");
    }
}
