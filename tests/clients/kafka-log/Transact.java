// Sends what stdin says in transactions of several producers at once, a line each:
//
//   <producer> begin | commit | abort | <key>:<value>
//
// Arguments: the bootstrap server and the topic.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

class Transact {
    public static void main(String[] args) throws Exception {
        Map<String, KafkaProducer<String, String>> producers = new HashMap<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ", 2);
            KafkaProducer<String, String> producer =
                    producers.computeIfAbsent(words[0], id -> open(args[0], id));
            switch (words[1]) {
                case "begin" -> producer.beginTransaction();
                case "commit" -> producer.commitTransaction();
                case "abort" -> {
                    // Without it an aborted record may never be sent.
                    producer.flush();
                    producer.abortTransaction();
                }
                default -> {
                    String[] record = words[1].split(":", 2);
                    producer.send(new ProducerRecord<>(args[1], record[0], record[1]));
                }
            }
        }
        producers.values().forEach(KafkaProducer::close);
    }

    private static KafkaProducer<String, String> open(String server, String id) {
        Map<String, Object> settings =
                Map.of("bootstrap.servers", server, "transactional.id", id, "linger.ms", 0);
        StringSerializer strings = new StringSerializer();
        KafkaProducer<String, String> producer = new KafkaProducer<>(settings, strings, strings);
        producer.initTransactions();
        return producer;
    }
}
