// The scenarios with franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	. "tidelog/clients/matrix"
)

var (
	ctx   = context.Background()
	admin = kadm.NewClient(client())
)

func client(options ...kgo.Opt) *kgo.Client { return connect(Password, options...) }

func connect(password string, options ...kgo.Opt) *kgo.Client {
	auth := plain.Auth{User: Username, Pass: password}
	login := []kgo.Opt{kgo.SeedBrokers(Bootstrap), kgo.SASL(auth.AsMechanism())}
	if TLS != nil {
		login = append(login, kgo.DialTLSConfig(TLS))
	}
	return Must(kgo.NewClient(append(login, options...)...))
}

func createTopic(topic string, partitions int32) {
	Must(admin.CreateTopic(ctx, partitions, 1, nil, topic))
}

func produce(topic string, records []Record, options ...kgo.Opt) error {
	producer := client(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	defer producer.Close()
	for _, it := range records {
		record := &kgo.Record{Topic: topic, Partition: it.Partition, Key: it.Key, Value: it.Value}
		for _, header := range it.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader(header))
		}
		if err := producer.ProduceSync(ctx, record).FirstErr(); err != nil {
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
	Check(produce(topic, records))
}

func poll(reader *kgo.Client, count int) []Record {
	limited, cancel := context.WithTimeout(ctx, Wait)
	defer cancel()
	var records []Record
	for len(records) < count {
		fetches := reader.PollRecords(limited, count-len(records))
		Check(fetches.Err())
		for _, it := range fetches.Records() {
			record := Record{Partition: it.Partition, Offset: it.Offset, Key: it.Key, Value: it.Value}
			for _, header := range it.Headers {
				record.Headers = append(record.Headers, Header(header))
			}
			records = append(records, record)
		}
	}
	return records
}

func read(topic string, count int, from kgo.Offset) []Record {
	reader := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: from}}))
	defer reader.Close()
	return poll(reader, count)
}

// A member of a group, and the partitions that it owns.
type member struct {
	*kgo.Client
	lock       sync.Mutex
	partitions []string
}

func join(group string, options ...kgo.Opt) *member {
	if BrokerAssigns {
		options = append(options, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	}
	return joinClassic(group, append([]kgo.Opt{kgo.ConsumeTopics(group)}, options...)...)
}

func joinClassic(group string, options ...kgo.Opt) *member {
	it := &member{}
	options = append(options,
		kgo.ConsumerGroup(group), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(SessionTimeout), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(it.change(true)), kgo.OnPartitionsRevoked(it.change(false)),
		kgo.OnPartitionsLost(it.change(false)))
	it.Client = client(options...)
	return it
}

func (it *member) change(gained bool) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		it.lock.Lock()
		defer it.lock.Unlock()
		for topic, partitions := range topics {
			for _, partition := range partitions {
				name := fmt.Sprintf("%s-%d", topic, partition)
				it.partitions = slices.DeleteFunc(it.partitions, func(had string) bool { return had == name })
				if gained {
					it.partitions = append(it.partitions, name)
				}
			}
		}
		slices.Sort(it.partitions)
	}
}

func (it *member) owned() []string {
	it.lock.Lock()
	defer it.lock.Unlock()
	return slices.Clone(it.partitions)
}

func (it *member) count() int { return len(it.owned()) }

func counts(members ...*member) func() []int {
	return func() (counts []int) {
		for _, it := range members {
			counts = append(counts, it.count())
		}
		return counts
	}
}

func create() {
	createTopic("create", 3)
	_, err := admin.CreateTopic(ctx, 3, 1, nil, "create")
	Expect("the same again", errors.Is(err, kerr.TopicAlreadyExists), true)
}

func samples(topic string, options ...kgo.Opt) func() {
	return func() {
		createTopic(topic, 1)
		Check(produce(topic, Samples, options...))
		ExpectSamples(read(topic, 7, kgo.NewOffset().AtStart()), true)
	}
}

func offsets() {
	createTopic("offsets", 1)
	fill("offsets", 1, 0, 5)
	middle := time.Now().UnixMilli() + 5
	time.Sleep(10 * time.Millisecond)
	fill("offsets", 1, 5, 10)
	Expect("earliest", Offsets(read("offsets", 10, kgo.NewOffset().AtStart())), Range(0, 10))
	Expect("at a time", Offsets(read("offsets", 5, kgo.NewOffset().AfterMilli(middle))), Range(5, 10))
	end, _ := Must(admin.ListEndOffsets(ctx, "offsets")).Lookup("offsets", 0)
	Expect("end", end.Offset, int64(10))
	read := make(chan []Record)
	latest := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"offsets": {0: kgo.NewOffset().AtEnd()}}))
	defer latest.Close()
	go func() { read <- poll(latest, 1) }()
	time.Sleep(time.Second)
	fill("offsets", 1, 10, 11)
	Expect("latest", Offsets(<-read), Range(10, 11))
}

func group() {
	createTopic("group", 3)
	fill("group", 3, 0, 5)
	reader := join("group")
	defer reader.Close()
	ExpectGroup(poll(reader.Client, 15))
}

func rebalance() {
	createTopic("rebalance", 4)
	stays := join("rebalance")
	defer stays.Close()
	leaves := join("rebalance")
	Until("shared", counts(stays, leaves), []int{2, 2})
	leaves.Close()
	Until("taken over", stays.count, 4)
}

func crash() {
	createTopic("crash", 4)
	stays := join("crash")
	defer stays.Close()
	crashes := StartMember()
	Until("shared", stays.count, 2)
	Check(crashes.Process.Kill())
	Until("taken over", stays.count, 4)
}

func regex() {
	createTopic("regex-1", 2)
	reader := join("^regex-[0-9]$", kgo.ConsumeRegex())
	defer reader.Close()
	Until("before", reader.count, 2)
	createTopic("regex-2", 3)
	createTopic("regex-none", 1)
	Until("after", reader.count, 5)
}

// A live group goes from one protocol to the other and back, and reads each record once.
func upgrade() {
	createTopic("upgrade", 4)
	fill("upgrade", 4, 0, 5)
	old := joinClassic("upgrade", kgo.ConsumeTopics("upgrade"))
	defer old.Close()
	Expect("read before", len(poll(old.Client, 20)), 20)
	Check(old.CommitUncommittedOffsets(ctx))
	young := join("upgrade")
	Until("shared", counts(old, young), []int{2, 2})
	fill("upgrade", 4, 5, 6)
	Expect("read by both", len(poll(old.Client, 2))+len(poll(young.Client, 2)), 4)
	Expect("type", groupType("upgrade"), "consumer")
	Check(old.CommitUncommittedOffsets(ctx))
	Check(young.CommitUncommittedOffsets(ctx))
	young.Close()
	Until("taken over", old.count, 4)
	Expect("type when it has left", groupType("upgrade"), "classic")
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	Expect("read again", old.PollFetches(soon).NumRecords(), 0)
}

func groupType(group string) string {
	if Must(admin.DescribeConsumerGroups(ctx, group))[group].Err == nil {
		return "consumer"
	}
	return "classic"
}

func resume() {
	createTopic("resume", 1)
	fill("resume", 1, 0, 10)
	first := join("resume")
	Expect("first", Offsets(poll(first.Client, 5)), Range(0, 5))
	Check(first.CommitUncommittedOffsets(ctx))
	first.Close()
	second := join("resume")
	defer second.Close()
	Expect("resumed", Offsets(poll(second.Client, 5)), Range(5, 10))
	committed, _ := Must(admin.FetchOffsets(ctx, "resume")).Lookup("resume", 0)
	Expect("committed", committed.At, int64(5))
}

func topics() {
	createTopic("topics", 3)
	topic := Must(admin.ListTopics(ctx))["topics"]
	Expect("partitions", topic.Partitions.Numbers(), []int32{0, 1, 2})
}

func retention() string {
	configs := Must(admin.DescribeTopicConfigs(ctx, "configs"))
	for _, it := range Must(configs.On("configs", nil)).Configs {
		if it.Key == "retention.ms" {
			return it.MaybeValue()
		}
	}
	return ""
}

func configs() {
	createTopic("configs", 1)
	Expect("before", retention(), "604800000")
	set := kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("60000")}
	altered := Must(admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{set}, "configs"))
	Check(altered[0].Err)
	Expect("after", retention(), "60000")
}

func partitions() {
	createTopic("partitions", 1)
	Check(Must(admin.UpdatePartitions(ctx, 3, "partitions")).Error())
	topic := Must(admin.ListTopics(ctx, "partitions"))["partitions"]
	Expect("partitions", len(topic.Partitions), 3)
}

func groups() {
	createTopic("groups", 1)
	fill("groups", 1, 0, 1)
	reader := join("groups")
	poll(reader.Client, 1)
	Check(reader.CommitUncommittedOffsets(ctx))
	state, members := described("groups")
	Expect("state", state, "Stable")
	Expect("members", members, 1)
	reader.Close()
	_, listed := Must(admin.ListGroups(ctx))["groups"]
	Expect("listed", listed, true)
	Must(admin.DeleteGroup(ctx, "groups"))
	_, listed = Must(admin.ListGroups(ctx))["groups"]
	Expect("listed when deleted", listed, false)
}

func described(group string) (state string, members int) {
	if BrokerAssigns {
		it := Must(admin.DescribeConsumerGroups(ctx, group))[group]
		return it.State, len(it.Members)
	}
	it := Must(admin.DescribeGroups(ctx, group))[group]
	return it.State, len(it.Members)
}

func remove() {
	createTopic("delete", 1)
	Must(admin.DeleteTopic(ctx, "delete"))
	Expect("listed", Must(admin.ListTopics(ctx)).Has("delete"), false)
}

func password() {
	wrong := connect("wrong")
	defer wrong.Close()
	Expect("error", errors.Is(wrong.Ping(ctx), kerr.SaslAuthenticationFailed), true)
}

func tooLarge() {
	createTopic("too-large", 1)
	err := produce("too-large", []Record{{Value: TooLarge}},
		kgo.ProducerBatchMaxBytes(10_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	Expect("error", errors.Is(err, kerr.MessageTooLarge), true)
}

func main() {
	Run([]Scenario{
		{"create", create},
		{"none", samples("none", kgo.ProducerBatchCompression(kgo.NoCompression()))},
		{"gzip", samples("gzip", kgo.ProducerBatchCompression(kgo.GzipCompression()))},
		{"snappy", samples("snappy", kgo.ProducerBatchCompression(kgo.SnappyCompression()))},
		{"lz4", samples("lz4", kgo.ProducerBatchCompression(kgo.Lz4Compression()))},
		{"zstd", samples("zstd", kgo.ProducerBatchCompression(kgo.ZstdCompression()))},
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
		{"idempotent", samples("idempotent")},
		// Kafka refuses it as well.
		{"static", NotThere("its leave lacks the id of the instance")},
		{"regex", regex},
		{"upgrade", upgrade},
	}, func() {
		reader := join("crash")
		for {
			reader.PollFetches(ctx)
		}
	})
}
