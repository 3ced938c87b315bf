// The scenarios with segmentio's kafka-go.
package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl/plain"

	. "tidelog/clients/matrix"
)

var (
	ctx    = context.Background()
	login  = plain.Mechanism{Username: Username, Password: Password}
	dialer = &kafka.Dialer{SASLMechanism: login, TLS: TLS, Timeout: Wait}
	via    = &kafka.Transport{SASL: login, TLS: TLS}
	admin  = client(via)
)

func client(via *kafka.Transport) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(Bootstrap), Timeout: Wait, Transport: via}
}

func createTopic(topic string, partitions int) error {
	request := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	answer := Must(admin.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{request}}))
	return answer.Errors[topic]
}

// A record that is sent carries its partition here.
func byPartition(message kafka.Message, _ ...int) int { return message.WriterData.(int) }

func produce(topic string, records []Record, codec kafka.Compression) error {
	writer := &kafka.Writer{
		Addr: kafka.TCP(Bootstrap), Topic: topic, Transport: via, Balancer: kafka.BalancerFunc(byPartition),
		BatchSize: 1, BatchBytes: 10_000_000, RequiredAcks: kafka.RequireAll, Compression: codec}
	defer writer.Close()
	for _, it := range records {
		message := kafka.Message{Key: it.Key, Value: it.Value, WriterData: int(it.Partition)}
		for _, header := range it.Headers {
			message.Headers = append(message.Headers, kafka.Header(header))
		}
		if err := writer.WriteMessages(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

func fill(topic string, partitions int32, from, to int) {
	var records []Record
	for partition := range partitions {
		for i := from; i < to; i++ {
			records = append(records, Record{Partition: partition, Value: []byte(strconv.Itoa(i))})
		}
	}
	Check(produce(topic, records, 0))
}

func reader(config kafka.ReaderConfig) *kafka.Reader {
	config.Brokers, config.Dialer, config.MaxWait = []string{Bootstrap}, dialer, 200*time.Millisecond
	config.HeartbeatInterval, config.SessionTimeout = 500*time.Millisecond, SessionTimeout
	config.StartOffset = kafka.FirstOffset
	return kafka.NewReader(config)
}

func member(group string) *kafka.Reader {
	return reader(kafka.ReaderConfig{GroupID: group, Topic: group})
}

func fetch(reader *kafka.Reader, count int) []Record {
	limited, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	var records []Record
	for len(records) < count {
		it := Must(reader.FetchMessage(limited))
		record := Record{Partition: int32(it.Partition), Offset: it.Offset, Key: it.Key, Value: it.Value}
		for _, header := range it.Headers {
			record.Headers = append(record.Headers, Header(header))
		}
		records = append(records, record)
	}
	return records
}

func create() {
	Check(createTopic("create", 3))
	Expect("the same again", errors.Is(createTopic("create", 3), kafka.TopicAlreadyExists), true)
}

func samples(codec kafka.Compression) func() {
	return func() {
		topic := codec.String()
		if topic == "uncompressed" {
			topic = "none"
		}
		Check(createTopic(topic, 1))
		Check(produce(topic, Samples, codec))
		reader := reader(kafka.ReaderConfig{Topic: topic})
		defer reader.Close()
		ExpectSamples(fetch(reader, 7), false) // it reads both as nil
	}
}

func offsets() {
	Check(createTopic("offsets", 1))
	fill("offsets", 1, 0, 5)
	middle := time.Now().Add(5 * time.Millisecond)
	time.Sleep(10 * time.Millisecond)
	fill("offsets", 1, 5, 10)
	reader := reader(kafka.ReaderConfig{Topic: "offsets"})
	defer reader.Close()
	Expect("earliest", Offsets(fetch(reader, 10)), Range(0, 10))
	Check(reader.SetOffsetAt(ctx, middle))
	Expect("at a time", Offsets(fetch(reader, 5)), Range(5, 10))
	Check(reader.SetOffset(kafka.LastOffset))
	read := make(chan []Record)
	go func() { read <- fetch(reader, 1) }()
	time.Sleep(time.Second)
	fill("offsets", 1, 10, 11)
	Expect("latest", Offsets(<-read), Range(10, 11))
}

func group() {
	Check(createTopic("group", 3))
	fill("group", 3, 0, 5)
	reader := member("group")
	defer reader.Close()
	ExpectGroup(fetch(reader, 15))
}

// A member that only holds partitions, and how many.
func holder(name string) (*kafka.ConsumerGroup, func() int32) {
	group := Must(kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: name, Brokers: []string{Bootstrap}, Dialer: dialer, Topics: []string{name},
		HeartbeatInterval: 500 * time.Millisecond, SessionTimeout: SessionTimeout}))
	var owned atomic.Int32
	go func() {
		for {
			generation, err := group.Next(ctx)
			if errors.Is(err, kafka.ErrGroupClosed) {
				return
			} else if err == nil {
				owned.Store(int32(len(generation.Assignments[name])))
			}
		}
	}()
	return group, owned.Load
}

func rebalance() {
	Check(createTopic("rebalance", 4))
	stays, owned := holder("rebalance")
	defer stays.Close()
	leaves, lent := holder("rebalance")
	Until("shared", func() []int32 { return []int32{owned(), lent()} }, []int32{2, 2})
	Check(leaves.Close())
	Until("taken over", owned, 4)
}

func crash() {
	Check(createTopic("crash", 4))
	stays, owned := holder("crash")
	defer stays.Close()
	crashes := StartMember()
	Until("shared", owned, 2)
	Check(crashes.Process.Kill())
	Until("taken over", owned, 4)
}

func resume() {
	Check(createTopic("resume", 1))
	fill("resume", 1, 0, 10)
	first := member("resume")
	Expect("first", Offsets(fetch(first, 5)), Range(0, 5))
	Check(first.CommitMessages(ctx, kafka.Message{Topic: "resume", Offset: 4}))
	Check(first.Close())
	second := member("resume")
	defer second.Close()
	Expect("resumed", Offsets(fetch(second, 5)), Range(5, 10))
	asked := &kafka.OffsetFetchRequest{GroupID: "resume", Topics: map[string][]int{"resume": {0}}}
	found := Must(admin.OffsetFetch(ctx, asked))
	Expect("committed", found.Topics["resume"][0].CommittedOffset, int64(5))
}

// How many partitions a topic has; none if it is not there.
func partitionsOf(topic string) int {
	for _, it := range Must(admin.Metadata(ctx, &kafka.MetadataRequest{})).Topics {
		if it.Name == topic {
			return len(it.Partitions)
		}
	}
	return 0
}

func topics() {
	Check(createTopic("topics", 3))
	Expect("listed", partitionsOf("topics"), 3)
}

func retention() string {
	resource := kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: "configs"}
	asked := &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{resource}}
	for _, it := range Must(admin.DescribeConfigs(ctx, asked)).Resources[0].ConfigEntries {
		if it.ConfigName == "retention.ms" {
			return it.ConfigValue
		}
	}
	return ""
}

func configs() {
	Check(createTopic("configs", 1))
	Expect("before", retention(), "604800000")
	set := kafka.IncrementalAlterConfigsRequestConfig{
		Name: "retention.ms", Value: "60000", ConfigOperation: kafka.ConfigOperationSet}
	topic := kafka.IncrementalAlterConfigsRequestResource{
		ResourceType: kafka.ResourceTypeTopic, ResourceName: "configs",
		Configs: []kafka.IncrementalAlterConfigsRequestConfig{set}}
	Must(admin.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{topic}}))
	Expect("after", retention(), "60000")
}

func partitions() {
	Check(createTopic("partitions", 1))
	topic := kafka.TopicPartitionsConfig{Name: "partitions", Count: 3}
	asked := &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{topic}}
	Check(Must(admin.CreatePartitions(ctx, asked)).Errors["partitions"])
	Until("partitions", func() int { return partitionsOf("partitions") }, 3)
}

func listed() bool {
	for _, it := range Must(admin.ListGroups(ctx, &kafka.ListGroupsRequest{})).Groups {
		if it.GroupID == "groups" {
			return true
		}
	}
	return false
}

func groups() {
	Check(createTopic("groups", 1))
	fill("groups", 1, 0, 1)
	reader := member("groups")
	fetch(reader, 1)
	asked := &kafka.DescribeGroupsRequest{GroupIDs: []string{"groups"}}
	described := Must(admin.DescribeGroups(ctx, asked)).Groups[0]
	Expect("state", described.GroupState, "Stable")
	Expect("members", len(described.Members), 1)
	Check(reader.Close())
	Expect("listed", listed(), true)
	deleted := Must(admin.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{"groups"}}))
	Check(deleted.Errors["groups"])
	Expect("listed when deleted", listed(), false)
}

func remove() {
	Check(createTopic("delete", 1))
	deleted := Must(admin.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{"delete"}}))
	Check(deleted.Errors["delete"])
	Until("listed", func() int { return partitionsOf("delete") }, 0)
}

func password() {
	wrong := client(&kafka.Transport{SASL: plain.Mechanism{Username: Username, Password: "wrong"}})
	_, err := wrong.Metadata(ctx, &kafka.MetadataRequest{})
	Expect("error", errors.Is(err, kafka.SASLAuthenticationFailed), true)
}

func tooLarge() {
	Check(createTopic("too-large", 1))
	err := produce("too-large", []Record{{Value: TooLarge}}, 0)
	if each, several := err.(kafka.WriteErrors); several {
		err = each[0]
	}
	Expect("error", errors.Is(err, kafka.MessageSizeTooLarge), true)
}

func main() {
	Run([]Scenario{
		{"create", create},
		{"none", samples(0)},
		{"gzip", samples(kafka.Gzip)},
		{"snappy", samples(kafka.Snappy)},
		{"lz4", samples(kafka.Lz4)},
		{"zstd", samples(kafka.Zstd)},
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
		{"idempotent", NotThere("kafka-go has no idempotent producer")},
	}, func() {
		holder("crash")
		select {}
	})
}
