// The scenarios with Sarama.
package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	. "tidelog/clients/matrix"
)

var (
	ctx   = context.Background()
	admin = Must(sarama.NewClusterAdmin([]string{Bootstrap}, config(Password)))
)

func config(password string) *sarama.Config {
	config := sarama.NewConfig()
	config.Net.TLS.Enable = TLS != nil
	config.Net.TLS.Config = TLS
	config.Net.SASL.Enable = true
	config.Net.SASL.User = Username
	config.Net.SASL.Password = password
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.MaxMessageBytes = 1_000_000
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Group.Session.Timeout = SessionTimeout
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	return config
}

func createTopic(topic string, partitions int32) {
	Check(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}, false))
}

func bytesOf(value []byte) sarama.Encoder {
	if value == nil {
		return nil
	}
	return sarama.ByteEncoder(value)
}

func produce(topic string, records []Record, change func(*sarama.Config)) error {
	config := config(Password)
	change(config)
	producer := Must(sarama.NewSyncProducer([]string{Bootstrap}, config))
	defer producer.Close()
	for _, it := range records {
		message := &sarama.ProducerMessage{
			Topic: topic, Partition: it.Partition, Key: bytesOf(it.Key), Value: bytesOf(it.Value)}
		for _, header := range it.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header.Key), Value: header.Value})
		}
		if _, _, err := producer.SendMessage(message); err != nil {
			return err
		}
	}
	return nil
}

func plainly(*sarama.Config) {}

func fill(topic string, partitions int32, from, to int) {
	var records []Record
	for partition := range partitions {
		for i := from; i < to; i++ {
			records = append(records, Record{Partition: partition, Value: []byte(strconv.Itoa(i))})
		}
	}
	Check(produce(topic, records, plainly))
}

func record(it *sarama.ConsumerMessage) Record {
	record := Record{Partition: it.Partition, Offset: it.Offset, Key: it.Key, Value: it.Value}
	for _, header := range it.Headers {
		record.Headers = append(record.Headers, Header{string(header.Key), header.Value})
	}
	return record
}

func take(messages <-chan *sarama.ConsumerMessage, count int) []Record {
	var records []Record
	deadline := time.After(Wait)
	for len(records) < count {
		select {
		case it := <-messages:
			records = append(records, record(it))
		case <-deadline:
			return records
		}
	}
	return records
}

func read(topic string, count int, from int64) []Record {
	consumer := Must(sarama.NewConsumer([]string{Bootstrap}, config(Password)))
	defer consumer.Close()
	partition := Must(consumer.ConsumePartition(topic, 0, from))
	defer partition.Close()
	return take(partition.Messages(), count)
}

// A member of a group: what it reads, and how many partitions it owns.
type member struct {
	group    sarama.ConsumerGroup
	messages chan *sarama.ConsumerMessage
	commit   chan int64
	owned    atomic.Int32
	done     chan struct{}
}

func join(group string) *member {
	it := &member{
		group:    Must(sarama.NewConsumerGroup([]string{Bootstrap}, group, config(Password))),
		messages: make(chan *sarama.ConsumerMessage),
		commit:   make(chan int64, 1),
		done:     make(chan struct{}),
	}
	go func() {
		defer close(it.done)
		for !errors.Is(it.group.Consume(ctx, []string{group}, it), sarama.ErrClosedConsumerGroup) {
		}
	}()
	return it
}

func (it *member) Setup(session sarama.ConsumerGroupSession) error {
	for _, partitions := range session.Claims() {
		it.owned.Store(int32(len(partitions)))
	}
	return nil
}

func (it *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (it *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			select {
			case it.messages <- message:
			case <-session.Context().Done():
				return nil
			}
		case offset := <-it.commit:
			session.MarkOffset(claim.Topic(), claim.Partition(), offset, "")
			session.Commit()
			it.commit <- -1
		case <-session.Context().Done():
			return nil
		}
	}
}

func (it *member) close() {
	Check(it.group.Close())
	<-it.done
}

func create() {
	createTopic("create", 3)
	err := admin.CreateTopic("create", &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false)
	Expect("the same again", errors.Is(err, sarama.ErrTopicAlreadyExists), true)
}

func samples(topic string, change func(*sarama.Config)) func() {
	return func() {
		createTopic(topic, 1)
		Check(produce(topic, Samples, change))
		ExpectSamples(read(topic, 7, sarama.OffsetOldest), true)
	}
}

func compression(codec sarama.CompressionCodec) func() {
	return samples(codec.String(), func(config *sarama.Config) { config.Producer.Compression = codec })
}

func idempotent(config *sarama.Config) {
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Net.MaxOpenRequests = 1
}

func offsets() {
	createTopic("offsets", 1)
	fill("offsets", 1, 0, 5)
	middle := time.Now().UnixMilli() + 5
	time.Sleep(10 * time.Millisecond)
	fill("offsets", 1, 5, 10)
	Expect("earliest", Offsets(read("offsets", 10, sarama.OffsetOldest)), Range(0, 10))
	client := Must(sarama.NewClient([]string{Bootstrap}, config(Password)))
	defer client.Close()
	found := Must(client.GetOffset("offsets", 0, middle))
	Expect("offset at a time", found, int64(5))
	Expect("at a time", Offsets(read("offsets", 5, found)), Range(5, 10))
	consumer := Must(sarama.NewConsumerFromClient(client))
	latest := Must(consumer.ConsumePartition("offsets", 0, sarama.OffsetNewest))
	defer latest.Close()
	fill("offsets", 1, 10, 11)
	Expect("latest", Offsets(take(latest.Messages(), 1)), Range(10, 11))
}

func group() {
	createTopic("group", 3)
	fill("group", 3, 0, 5)
	reader := join("group")
	defer reader.close()
	ExpectGroup(take(reader.messages, 15))
}

func rebalance() {
	createTopic("rebalance", 4)
	stays, leaves := join("rebalance"), join("rebalance")
	defer stays.close()
	owned := func() []int32 { return []int32{stays.owned.Load(), leaves.owned.Load()} }
	Until("shared", owned, []int32{2, 2})
	leaves.close()
	Until("taken over", stays.owned.Load, 4)
}

func crash() {
	createTopic("crash", 4)
	stays := join("crash")
	defer stays.close()
	crashes := StartMember()
	Until("shared", stays.owned.Load, 2)
	Check(crashes.Process.Kill())
	Until("taken over", stays.owned.Load, 4)
}

func resume() {
	createTopic("resume", 1)
	fill("resume", 1, 0, 10)
	first := join("resume")
	Expect("first", Offsets(take(first.messages, 5)), Range(0, 5))
	take(first.messages, 5)
	first.commit <- 5
	time.Sleep(100 * time.Millisecond)
	Expect("committed", <-first.commit, int64(-1))
	first.close()
	second := join("resume")
	defer second.close()
	Expect("resumed", Offsets(take(second.messages, 5)), Range(5, 10))
	found := Must(admin.ListConsumerGroupOffsets("resume", map[string][]int32{"resume": {0}}))
	Expect("committed", found.GetBlock("resume", 0).Offset, int64(5))
}

func topics() {
	createTopic("topics", 3)
	Expect("listed", Must(admin.ListTopics())["topics"].NumPartitions, int32(3))
	Expect("described", len(Must(admin.DescribeTopics([]string{"topics"}))[0].Partitions), 3)
}

func retention() string {
	resource := sarama.ConfigResource{Type: sarama.TopicResource, Name: "configs"}
	for _, it := range Must(admin.DescribeConfig(resource)) {
		if it.Name == "retention.ms" {
			return it.Value
		}
	}
	return ""
}

func configs() {
	createTopic("configs", 1)
	Expect("before", retention(), "604800000")
	value := "60000"
	Check(admin.AlterConfig(sarama.TopicResource, "configs", map[string]*string{"retention.ms": &value}, false))
	Expect("after", retention(), "60000")
}

func partitions() {
	createTopic("partitions", 1)
	Check(admin.CreatePartitions("partitions", 3, nil, false))
	Expect("partitions", Must(admin.ListTopics())["partitions"].NumPartitions, int32(3))
}

func listed() bool {
	_, listed := Must(admin.ListConsumerGroups())["groups"]
	return listed
}

func groups() {
	createTopic("groups", 1)
	fill("groups", 1, 0, 1)
	reader := join("groups")
	take(reader.messages, 1)
	described := Must(admin.DescribeConsumerGroups([]string{"groups"}))[0]
	Expect("state", described.State, "Stable")
	Expect("members", len(described.Members), 1)
	reader.close()
	Expect("listed", listed(), true)
	Check(admin.DeleteConsumerGroup("groups"))
	Expect("listed when deleted", listed(), false)
}

func remove() {
	createTopic("delete", 1)
	Check(admin.DeleteTopic("delete"))
	_, listed := Must(admin.ListTopics())["delete"]
	Expect("listed", listed, false)
}

func password() {
	_, err := sarama.NewClient([]string{Bootstrap}, config("wrong"))
	Expect("error", errors.Is(err, sarama.ErrSASLAuthenticationFailed), true)
}

func tooLarge() {
	createTopic("too-large", 1)
	err := produce("too-large", []Record{{Value: TooLarge}}, func(config *sarama.Config) {
		config.Producer.MaxMessageBytes = 10_000_000
	})
	Expect("error", errors.Is(err, sarama.ErrMessageSizeTooLarge), true)
}

func main() {
	Run([]Scenario{
		{"create", create},
		{"none", compression(sarama.CompressionNone)},
		{"gzip", compression(sarama.CompressionGZIP)},
		{"snappy", compression(sarama.CompressionSnappy)},
		{"lz4", compression(sarama.CompressionLZ4)},
		{"zstd", compression(sarama.CompressionZSTD)},
		{"offsets", offsets},
		{"group", group},
		{"rebalance", rebalance},
		{"crash", crash},
		{"resume", resume},
		{"topics", topics},
		{"configs", configs},
		{"partitions", partitions},
		{"groups", groups},
		{"delete", remove},
		{"password", password},
		{"too-large", tooLarge},
		{"idempotent", samples("idempotent", idempotent)},
	}, func() {
		member := join("crash")
		for range member.messages {
		}
	})
}
