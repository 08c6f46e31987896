import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * The yardstick: Kafka Streams sums quantities per SKU and region, nothing else.
 *
 * Both regions of a SKU share one row of the store, so that no repartition is needed (the topics are keyed by
 * SKU) and one output record carries both sums: less work than one row per SKU|region would be.
 *
 * Arguments: bootstrap, state folder, commit interval in ms, threads. Commands on standard input:
 * "run APPLICATION OUTPUT TOPIC,…" and "stop" (prints one line of figures).
 */
public final class Sum {
    private static final JsonFactory JSON = new JsonFactory();

    /** Adds the fact's quantity to the sum of its region; row: two longs. */
    static byte[] add(byte[] fact, byte[] row) {
        long quantity = 0;
        int region = 0;
        try (JsonParser parser = JSON.createParser(fact)) {
            for (JsonToken token = parser.nextToken(); token != null; token = parser.nextToken()) {
                if (token != JsonToken.FIELD_NAME) continue;
                switch (parser.currentName()) {
                    case "node", "region" -> region = parser.nextTextValue().startsWith("uk") ? 0 : 1;
                    case "delta", "quantity", "open", "put_away", "reported", "sellable" ->
                        quantity = parser.nextLongValue(0);
                    default -> { }
                }
            }
        } catch (java.io.IOException broken) {
            throw new IllegalArgumentException(broken);
        }
        byte[] next = row.clone();
        ByteBuffer sums = ByteBuffer.wrap(next);
        sums.putLong(8 * region, sums.getLong(8 * region) + quantity);
        return next;
    }

    static Topology topology(List<String> inputs, String output) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(inputs, Consumed.with(Serdes.Bytes(), Serdes.ByteArray()))
            .groupByKey()
            .aggregate(
                () -> new byte[16],
                (sku, fact, row) -> add(fact, row),
                Materialized.<Bytes, byte[], KeyValueStore<Bytes, byte[]>>as("sums")
                    .withKeySerde(Serdes.Bytes()).withValueSerde(Serdes.ByteArray()).withCachingEnabled())
            .toStream()
            .to(output, Produced.with(Serdes.Bytes(), Serdes.ByteArray()));
        return builder.build();
    }

    static Properties settings(String[] arguments, String application) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[1]);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, arguments[2]);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, arguments[3]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 128L << 20);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        settings.put(StreamsConfig.consumerPrefix("max.poll.records"), "5000");
        settings.put(StreamsConfig.producerPrefix("batch.size"), "131072");
        return settings;
    }

    /** Total of a metric over all its instances: commits of the threads, records the producers sent. */
    static long total(KafkaStreams streams, String group, String name) {
        return (long) streams.metrics().values().stream()
            .filter(metric -> metric.metricName().group().equals(group) && metric.metricName().name().equals(name))
            .mapToDouble(metric -> (Double) metric.metricValue()).sum();
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        KafkaStreams streams = null;
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ");
            if (words[0].equals("run")) {
                streams = new KafkaStreams(topology(List.of(words[3].split(",")), words[2]), settings(arguments, words[1]));
                streams.start();
            } else {
                long commits = total(streams, "stream-thread-metrics", "commit-total");
                long sent = total(streams, "producer-metrics", "record-send-total");
                streams.close();
                System.out.printf("{\"commits\":%d,\"sent\":%d}%n", commits, sent);
            }
        }
    }
}
