import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The sample records, and how a program tells of its scenarios. */
final class Matrix {
    static final long WAIT_MS = 30_000;
    static final byte[] TOO_LARGE = new byte[2_000_000];

    record Sample(byte[] key, byte[] value, List<Header> headers) {}

    /** Six tiny batches, and one of about 900 KB. */
    static final List<Sample> SAMPLES = List.of(
        new Sample(utf8("plain"), utf8("hello"), List.of(header("trace", "abc"), header("empty", ""))),
        new Sample(null, utf8("no key"), List.of()),
        new Sample(utf8("gone"), null, List.of()),
        new Sample(utf8("ключ"), utf8("naïve ☃ 東京"), List.of(header("naïve", "☃"))),
        new Sample(utf8("empty"), utf8(""), List.of()),
        new Sample(new byte[] {0, (byte) 0xff}, everyByte(), List.of()),
        new Sample(utf8("large"), utf8("0123456789abcdef".repeat(56_250)), List.of()));

    interface Scenario {
        void run() throws Exception;
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static Header header(String key, String value) {
        return new RecordHeader(key, utf8(value));
    }

    private static byte[] everyByte() {
        byte[] bytes = new byte[256];
        for (int i = 0; i < bytes.length; i++) bytes[i] = (byte) i;
        return bytes;
    }

    static void expect(String what, Object got, Object wanted) {
        if (Objects.deepEquals(got, wanted)) return;
        throw new AssertionError(what + ": " + shown(got) + ", not " + shown(wanted));
    }

    private static String shown(Object value) {
        String text = value instanceof byte[] bytes ? new String(bytes, StandardCharsets.UTF_8) : "" + value;
        return text.substring(0, Math.min(300, text.length()));
    }

    static void expectSamples(List<ConsumerRecord<byte[], byte[]>> records) {
        expect("how many records", records.size(), SAMPLES.size());
        for (int i = 0; i < records.size(); i++) {
            ConsumerRecord<byte[], byte[]> got = records.get(i);
            expect("offset", got.offset(), (long) i);
            expect("key of " + i, got.key(), SAMPLES.get(i).key());
            expect("value of " + i, got.value(), SAMPLES.get(i).value());
            expect("headers of " + i, List.of(got.headers().toArray()), SAMPLES.get(i).headers());
        }
    }

    /** This program again, as the member of the group `crash` that is to be killed. */
    static Process startMember() throws Exception {
        List<String> command = new ArrayList<>();
        command.add(ProcessHandle.current().info().command().orElseThrow());
        command.addAll(List.of("-Xmx64m", "-cp", System.getProperty("java.class.path"), "Scenarios", "member"));
        return new ProcessBuilder(command).redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    }

    /** Runs the scenarios named by the arguments, or all, and prints a line for each. */
    static void run(String[] names, Map<String, Scenario> scenarios) {
        for (String name : names.length > 0 ? List.of(names) : scenarios.keySet()) {
            String error = "";
            try {
                scenarios.get(name).run();
            } catch (Throwable thrown) {
                thrown.printStackTrace();
                error = thrown.toString();
            }
            System.out.println("{\"scenario\": \"" + name + "\", \"ok\": " + error.isEmpty()
                + ", \"detail\": \"" + escaped(error) + "\"}");
        }
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\"", "\\\"").replaceAll("\\p{Cntrl}", " ");
    }
}
