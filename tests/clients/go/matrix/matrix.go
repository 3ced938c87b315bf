// Package matrix is what the Go programs share: the sample records, and how a program tells of its
// scenarios.
package matrix

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Where the broker is, and who asks.
var (
	Bootstrap = os.Getenv("TIDELOG_BOOTSTRAP")
	Username  = os.Getenv("TIDELOG_USERNAME")
	Password  = os.Getenv("TIDELOG_PASSWORD")
	// BrokerAssigns is whether members of groups speak the consumer protocol (KIP-848).
	BrokerAssigns = os.Getenv("TIDELOG_GROUP_PROTOCOL") == "consumer"
	// TLS trusts the broker's authority; nil where the broker speaks plaintext.
	TLS = trust(os.Getenv("TIDELOG_CA"))
)

func trust(authority string) *tls.Config {
	if authority == "" {
		return nil
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(Must(os.ReadFile(authority)))
	return &tls.Config{RootCAs: roots}
}

const (
	SessionTimeout = 6 * time.Second
	Wait           = 30 * time.Second
)

// Record is a record as it was read, or is to be written.
type Record struct {
	Partition  int32
	Offset     int64
	Key, Value []byte
	Headers    []Header
}

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Samples are six tiny batches, and one of about 900 KB.
var Samples = []Record{
	{Key: []byte("plain"), Value: []byte("hello"), Headers: []Header{{"trace", []byte("abc")}, {"empty", []byte{}}}},
	{Value: []byte("no key")},
	{Key: []byte("gone")},
	{Key: []byte("ключ"), Value: []byte("naïve ☃ 東京"), Headers: []Header{{"naïve", []byte("☃")}}},
	{Key: []byte("empty"), Value: []byte{}},
	{Key: []byte{0, 0xff}, Value: everyByte()},
	{Key: []byte("large"), Value: bytes.Repeat([]byte("0123456789abcdef"), 56_250)},
}

// TooLarge is over any topic's limit.
var TooLarge = bytes.Repeat([]byte("x"), 2_000_000)

func everyByte() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

// Check fails the scenario if there is an error.
func Check(err error) {
	if err != nil {
		panic(err)
	}
}

// Must is the value, unless there is an error.
func Must[T any](value T, err error) T {
	Check(err)
	return value
}

// Expect fails the scenario unless it got what it wanted.
func Expect(what string, got, wanted any) {
	if !reflect.DeepEqual(got, wanted) {
		panic(fmt.Errorf("%s: %.300s, not %.300s", what, fmt.Sprint(got), fmt.Sprint(wanted)))
	}
}

// ExpectSamples fails unless these are the sample records, in order. A client that has no null key
// or value gives an empty one, which `nulls` allows.
func ExpectSamples(records []Record, nulls bool) {
	Expect("how many records", len(records), len(Samples))
	for i, got := range records {
		wanted := Samples[i]
		Expect("offset", got.Offset, int64(i))
		expectBytes(fmt.Sprintf("key of %d", i), got.Key, wanted.Key, nulls)
		expectBytes(fmt.Sprintf("value of %d", i), got.Value, wanted.Value, nulls)
		Expect(fmt.Sprintf("headers of %d", i), fmt.Sprint(got.Headers), fmt.Sprint(wanted.Headers))
	}
}

func expectBytes(what string, got, wanted []byte, nulls bool) {
	if !bytes.Equal(got, wanted) || nulls && (got == nil) != (wanted == nil) {
		Expect(what, got, wanted)
	}
}

// ExpectGroup fails unless these are records 0 to 4 of three partitions.
func ExpectGroup(records []Record) {
	var got, wanted []string
	for _, it := range records {
		got = append(got, fmt.Sprintf("%d %d %s", it.Partition, it.Offset, it.Value))
	}
	for i := range 15 {
		wanted = append(wanted, fmt.Sprintf("%d %d %d", i/5, i%5, i%5))
	}
	slices.Sort(got)
	Expect("records", got, wanted)
}

// Offsets are the offsets of records.
func Offsets(records []Record) []int64 {
	var offsets []int64
	for _, it := range records {
		offsets = append(offsets, it.Offset)
	}
	return offsets
}

// Range is the numbers from one up to, and without, another.
func Range(from, to int64) []int64 {
	var all []int64
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// Until waits for a state.
func Until[T any](what string, state func() T, wanted T) {
	deadline := time.Now().Add(Wait)
	for !reflect.DeepEqual(state(), wanted) && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	Expect(what, state(), wanted)
}

// StartMember runs this program again, as the member of the group `crash` that is to be killed.
func StartMember() *exec.Cmd {
	member := exec.Command(os.Args[0], "member")
	member.Stderr = os.Stderr
	Check(member.Start())
	return member
}

// Absent is why this client has no such thing.
type Absent string

// Scenario is a cell of the table.
type Scenario struct {
	Name string
	Run  func()
}

// NotThere is a scenario for what this client does not have.
func NotThere(reason string) func() {
	return func() { panic(Absent(reason)) }
}

// Run runs the scenarios named on the command line, or all, and prints a line for each.
func Run(scenarios []Scenario, member func()) {
	names := os.Args[1:]
	if len(names) == 1 && names[0] == "member" {
		member()
		return
	}
	for _, it := range scenarios {
		if len(names) == 0 || slices.Contains(names, it.Name) {
			fmt.Println(line(it))
		}
	}
}

func line(it Scenario) (line string) {
	defer func() {
		caught := recover()
		ok, detail := any(caught == nil), ""
		if reason, absent := caught.(Absent); absent {
			ok, detail = nil, string(reason)
		} else if caught != nil {
			detail = strings.SplitN(fmt.Sprint(caught), "\n", 2)[0]
		}
		shown, _ := json.Marshal(detail)
		verdict, _ := json.Marshal(ok)
		line = fmt.Sprintf(`{"scenario": %q, "ok": %s, "detail": %s}`, it.Name, verdict, shown)
	}()
	it.Run()
	return ""
}
