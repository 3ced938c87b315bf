// What to paste to read a topic, in each language. Pure: it touches no page, so the test of the
// snippets generates the same text in Node.js and runs it with the language's own tools.
//
// **Each snippet is complete, works as pasted, and reads the topic from its beginning every time it
// is run**: those in a consumer group therefore do not commit, and say how to.

import * as quote from "./quote.js";

/**
 * @param connection what `GET /v1/connection` answers
 * @param password of the connection's user
 * @param topic to read
 * @returns [{id, label, language, needs, install, file, code, run, secret}]: `needs` are the
 *   commands used; `install` and `run` are shell lines, in one empty directory; `code` goes to
 *   `file`, or into a shell where `file` is null; `secret` is the password as it stands in `code`.
 */
export function snippets(connection, password, topic) {
  const c = { ...connection.kafka, username: connection.username, password, topic };
  c.scram = c.sasl_mechanism.startsWith("SCRAM-");
  c.ssl = c.security_protocol === "SASL_SSL";
  c.brokers = c.bootstrap.split(",");
  return [kcat(c), java(c), python(c), node(c), go(c), rust(c), curl(c, connection.http.url)];
}

/** The lines that define a sync and write one of its records, for a shell. */
export function writeSnippet(connection, password) {
  const q = quote.shell;
  const url = `${connection.http.url}/v1/syncs/${EXAMPLE.sync}`;
  const definition = {
    provider: "salesforce",
    collections: { contact: { table: "contacts", columns: { LastName: "last_name" } } },
  };
  const record = { LastName: "Lovelace", email: "ada@example.com" };
  const user = `-u ${q(`${connection.username}:${password}`)}`;
  return {
    code: `# Once: which columns the collection "contact" has
curl -sS -w '\\n' -X PUT ${user} \\
  ${q(url)} \\
  -d ${q(JSON.stringify(definition))}

# Write a record. Change a value and run it again: the event says what it was before.
curl -sS -w '\\n' -X PUT ${user} \\
  ${q(`${url}/collections/contact/records/003`)} \\
  -d ${q(JSON.stringify(record))}
`,
    secret: inside(q(password)),
    topic: EXAMPLE.topic,
  };
}

export const EXAMPLE = { sync: "sync_1a107d79", topic: "sequin.sync_1a107d79.contact" };

const VERSIONS = {
  "kafka-clients": "4.3.1",
  "confluent-kafka": "2.16.1",
  kafkajs: "2.2.4",
  "franz-go": "v1.22.3",
  rdkafka: "0.39.0",
};

function kcat(c) {
  const q = quote.shell;
  return {
    id: "kcat",
    label: "kcat",
    language: "shell",
    needs: ["kcat"],
    install: "sudo apt-get install kcat    # macOS: brew install kcat\n",
    file: null,
    code: `kcat -b ${q(c.bootstrap)} \\
  -X security.protocol=${c.security_protocol} \\
  -X sasl.mechanisms=${c.sasl_mechanism} \\
  -X sasl.username=${q(c.username)} \\
  -X sasl.password=${q(c.password)} \\
  -t ${q(c.topic)} -C -o beginning -e -q -f '%k %s\\n'
`,
    run: null,
    secret: inside(q(c.password)),
  };
}

const MAVEN = `cat > pom.xml <<'POM'
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>example</groupId>
  <artifactId>events</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka-clients</artifactId>
      <version>${VERSIONS["kafka-clients"]}</version>
    </dependency>
  </dependencies>
</project>
POM
mvn -q dependency:copy-dependencies
`;

function java(c) {
  const q = quote.java;
  const login = c.scram ? "scram.ScramLoginModule" : "plain.PlainLoginModule";
  const option = (name, value) => inside(q(` ${name}=${quote.jaas(value)}`));
  return {
    id: "java",
    label: "Java",
    language: "java",
    needs: ["java", "mvn"],
    install: MAVEN,
    file: "Consume.java",
    code: `// Java 17 or later; org.apache.kafka:kafka-clients:${VERSIONS["kafka-clients"]}
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

public class Consume {
    public static void main(String[] args) {
        var config = new Properties();
        config.put("bootstrap.servers", ${q(c.bootstrap)});
        config.put("security.protocol", ${q(c.security_protocol)});
        config.put("sasl.mechanism", ${q(c.sasl_mechanism)});
        config.put("sasl.jaas.config",
            "org.apache.kafka.common.security.${login} required"
                + "${option("username", c.username)}"
                + "${option("password", c.password)};");
        config.put("group.id", "try-java");
        config.put("auto.offset.reset", "earliest");
        // Set to "true" to carry on where the last run stopped.
        config.put("enable.auto.commit", "false");

        var text = new StringDeserializer();
        var consumer = new KafkaConsumer<>(config, text, text);
        var reader = Thread.currentThread();
        // Ctrl-C: leave the group, so that the next run need not wait for it.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                reader.join(3_000);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));

        try (consumer) {
            consumer.subscribe(List.of(${q(c.topic)}));
            while (true) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    System.out.println(record.key() + " " + record.value());
                }
            }
        } catch (WakeupException stopped) {
            // Ctrl-C
        }
    }
}
`,
    run: "java -cp 'target/dependency/*' Consume.java\n",
    secret: inside(q(inside(quote.jaas(c.password)))),
  };
}

function python(c) {
  const q = quote.python;
  return {
    id: "python",
    label: "Python",
    language: "python",
    needs: ["python3"],
    install: `pip install confluent-kafka==${VERSIONS["confluent-kafka"]}\n`,
    file: "consume.py",
    code: `from confluent_kafka import Consumer, KafkaException

consumer = Consumer({
    "bootstrap.servers": ${q(c.bootstrap)},
    "security.protocol": ${q(c.security_protocol)},
    "sasl.mechanism": ${q(c.sasl_mechanism)},
    "sasl.username": ${q(c.username)},
    "sasl.password": ${q(c.password)},
    "group.id": "try-python",
    "auto.offset.reset": "earliest",
    # Set to True to carry on where the last run stopped.
    "enable.auto.commit": False,
})
consumer.subscribe([${q(c.topic)}])


def text(data):
    return "" if data is None else data.decode()


try:
    while True:
        message = consumer.poll(1.0)
        if message is None:
            continue
        if message.error():
            raise KafkaException(message.error())
        print(text(message.key()), text(message.value()), flush=True)
except KeyboardInterrupt:
    pass
finally:
    consumer.close()
`,
    run: "python3 consume.py\n",
    secret: inside(q(c.password)),
  };
}

function node(c) {
  const q = quote.javascript;
  return {
    id: "node",
    label: "Node.js",
    language: "javascript",
    needs: ["node", "npm"],
    install: `npm install kafkajs@${VERSIONS.kafkajs}\n`,
    file: "consume.mjs",
    code: `import { Kafka, logLevel } from "kafkajs";

const kafka = new Kafka({
  clientId: "try-node",
  brokers: [${c.brokers.map(q).join(", ")}],
  ssl: ${c.ssl},
  sasl: {
    mechanism: ${q(c.sasl_mechanism.toLowerCase())},
    username: ${q(c.username)},
    password: ${q(c.password)},
  },
  logLevel: logLevel.ERROR,
});

const consumer = kafka.consumer({ groupId: "try-node" });
process.once("SIGINT", () => consumer.disconnect());

await consumer.connect();
await consumer.subscribe({ topics: [${q(c.topic)}], fromBeginning: true });
await consumer.run({
  // Leave this out to carry on where the last run stopped.
  autoCommit: false,
  eachMessage: async ({ message }) => {
    console.log(\`\${message.key ?? ""} \${message.value ?? ""}\`);
  },
});
`,
    run: "node consume.mjs\n",
    secret: inside(q(c.password)),
  };
}

function go(c) {
  const q = quote.go;
  const mechanism = c.scram ? `AsSha${c.sasl_mechanism.slice(-3)}Mechanism` : "AsMechanism";
  const sasl = c.scram ? "scram" : "plain";
  const get = ["kgo", `sasl/${sasl}`].map((name) =>
    `go get github.com/twmb/franz-go/pkg/${name}@${VERSIONS["franz-go"]}\n`);
  return {
    id: "go",
    label: "Go",
    language: "go",
    needs: ["go"],
    install: `go mod init events\n${get.join("")}`,
    file: "main.go",
    code: `package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/${sasl}"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	client, err := kgo.NewClient(
		kgo.SeedBrokers(${c.brokers.map(q).join(", ")}),${c.ssl ? "\n\t\tkgo.DialTLS()," : ""}
		kgo.SASL(${sasl}.Auth{
			User: ${q(c.username)},
			Pass: ${q(c.password)},
		}.${mechanism}()),
		kgo.ConsumerGroup("try-go"),
		kgo.ConsumeTopics(${q(c.topic)}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		// Leave this out to carry on where the last run stopped.
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			log.Printf("%s/%d: %v", topic, partition, err)
		})
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Printf("%s %s\\n", record.Key, record.Value)
		})
	}
}
`,
    run: "go run .\n",
    secret: inside(q(c.password)),
  };
}

function rust(c) {
  const q = quote.rust;
  // librdkafka does PLAIN by itself; for TLS and SCRAM it wants OpenSSL.
  const features = c.ssl || c.scram ? " --features ssl" : "";
  return {
    id: "rust",
    label: "Rust",
    language: "rust",
    needs: ["cargo", "cc", "make"],
    install: `cargo init --name events\ncargo add rdkafka@${VERSIONS.rdkafka}${features}\n`,
    file: "src/main.rs",
    code: `use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", ${q(c.bootstrap)})
        .set("security.protocol", ${q(c.security_protocol)})
        .set("sasl.mechanism", ${q(c.sasl_mechanism)})
        .set("sasl.username", ${q(c.username)})
        .set("sasl.password", ${q(c.password)})
        .set("group.id", "try-rust")
        .set("auto.offset.reset", "earliest")
        // Set to "true" to carry on where the last run stopped.
        .set("enable.auto.commit", "false")
        // How long the next run waits for one that Ctrl-C ended.
        .set("session.timeout.ms", "6000")
        .create()?;
    consumer.subscribe(&[${q(c.topic)}])?;

    for message in consumer.iter() {
        let message = message?;
        println!("{} {}", text(message.key()), text(message.payload()));
    }
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
`,
    run: "cargo run --quiet\n",
    secret: inside(q(c.password)),
  };
}

function curl(c, url) {
  const q = quote.shell;
  const user = `-u ${q(`${c.username}:${c.password}`)}`;
  const fetch = { topic: c.topic, partition: 0, offset: 0 };
  const topic = encodeURIComponent(c.topic);
  return {
    id: "curl",
    label: "curl",
    language: "shell",
    needs: ["curl"],
    install: "sudo apt-get install curl    # macOS has it\n",
    file: null,
    code: `# Consume: every partition, in a consumer group. Run it again for what came since.
curl -sS -w '\\n' ${user} \\
  -H 'Kafka-Auto-Offset-Reset: earliest' \\
  ${q(`${url}/consume/try-curl/one/${topic}?timeout=5000`)}

# Fetch: no group, any position. Here partition 0 from its first record.
curl -sS -w '\\n' ${user} \\
  ${q(`${url}/fetch`)} \\
  -d ${q(JSON.stringify(fetch))}
`,
    run: null,
    secret: inside(q(c.password)),
  };
}

const inside = (literal) => literal.slice(1, -1);
