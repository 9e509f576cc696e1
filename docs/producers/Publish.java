// Publishes events of agents, lines of JSON on standard input, and prints what was decided of each.
//
//     mvn --quiet compile
//     echo '{"tenant_id": "acme", "agent_id": "planner-1", "event_type": "execution_completed"}' \
//         | mvn --quiet exec:java
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Scanner;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

public class Publish {
    static final String KAFKA = System.getenv().getOrDefault("BOOTSTRAP_SERVERS", "127.0.0.1:9092");
    static final String TOPIC = "kaizen.events";
    static final List<String> POOLS = List.of("priority.urgent", "priority.normal", "priority.background");
    static final ObjectMapper JSON = new ObjectMapper();
    static final PrintStream OUT =
        new PrintStream(new FileOutputStream(FileDescriptor.out), true, StandardCharsets.UTF_8);

    // A service that is traced passes on the `traceparent` of its request.
    static final String TRACEPARENT = "00-%016x%016x-%016x-01".formatted(odd(), odd(), odd());

    public static void main(String[] arguments) throws Exception {
        Set<String> undecided = publish(new Scanner(System.in, StandardCharsets.UTF_8));
        read(undecided);
        if (!undecided.isEmpty()) {
            System.err.println("no decision within a minute: " + undecided);
            System.exit(1);
        }
    }

    static Set<String> publish(Scanner lines) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", KAFKA);
        settings.put("compression.type", "lz4");
        Registry.Known ours = Registry.latest(TOPIC + "-value");
        Set<String> ids = new HashSet<>();
        // Without a partitioner of its own a KafkaProducer takes murmur2 of the key's bytes: one partition per agent.
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            while (lines.hasNextLine()) {
                GenericRecord event = event(ours.schema(), JSON.readTree(lines.nextLine()));
                ids.add(event.get("event_id").toString());
                sent.add(producer.send(record(event, ours)));
            }
            for (Future<RecordMetadata> one : sent) one.get();
        }
        return ids;
    }

    static GenericRecord event(Schema schema, JsonNode given) {
        GenericRecordBuilder event = new GenericRecordBuilder(schema);
        event.set("event_id", UUID.randomUUID().toString());
        event.set("occurred_at", System.currentTimeMillis());
        for (Map.Entry<String, JsonNode> one : given.properties()) {
            event.set(one.getKey(), value(schema.getField(one.getKey()).schema(), one.getValue()));
        }
        return event.build(); // what is not given has its default
    }

    static Object value(Schema schema, JsonNode given) {
        if (given.isNull()) return null;
        return switch (schema.getType()) {
            case UNION -> value(schema.getTypes().get(1), given); // ["null", something]
            case ENUM -> new GenericData.EnumSymbol(schema, given.asText());
            case LONG -> given.asLong();
            case DOUBLE -> given.asDouble();
            case BOOLEAN -> given.asBoolean();
            case MAP -> JSON.convertValue(given, Map.class);
            default -> given.asText();
        };
    }

    static ProducerRecord<String, byte[]> record(GenericRecord event, Registry.Known ours) throws IOException {
        String key = event.get("tenant_id") + "/" + event.get("agent_id");
        ProducerRecord<String, byte[]> record = new ProducerRecord<>(TOPIC, key, Registry.encode(event, ours));
        Map<String, String> headers = Map.of(
            "ce_specversion", "1.0",
            "ce_id", event.get("event_id").toString(),
            "ce_source", "/producers/java",
            "ce_type", "cognistream.kaizen." + event.get("event_type").toString().replace('_', '.'),
            "ce_time", Instant.ofEpochMilli((long) event.get("occurred_at")).toString(),
            "ce_subject", key,
            "content-type", "application/avro",
            "traceparent", TRACEPARENT);
        headers.forEach((name, text) -> record.headers().add(name, text.getBytes(StandardCharsets.UTF_8)));
        return record;
    }

    static void read(Set<String> undecided) throws Exception {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", KAFKA);
        settings.put("group.id", "producer-java");
        settings.put("auto.offset.reset", "earliest");
        settings.put("isolation.level", "read_committed"); // outputs are transactional
        Instant end = Instant.now().plusSeconds(60);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(POOLS);
            while (!undecided.isEmpty() && Instant.now().isBefore(end)) {
                for (ConsumerRecord<String, byte[]> one : consumer.poll(Duration.ofMillis(200))) {
                    GenericRecord decided = Registry.decode(one.value());
                    if (undecided.remove(decided.get("event_id").toString())) tell(one, decided);
                }
            }
        }
    }

    static void tell(ConsumerRecord<String, byte[]> one, GenericRecord decided) {
        Header trace = one.headers().lastHeader("traceparent");
        String traceparent = trace == null ? "" : new String(trace.value(), StandardCharsets.UTF_8);
        OUT.printf("{\"pool\": \"%s\", \"traceparent\": \"%s\", ", one.topic(), traceparent);
        OUT.printf("\"record\": %s}%n", decided);
    }

    static long odd() {
        return ThreadLocalRandom.current().nextLong() | 1; // a trace id of zeros alone is none
    }

    /** The registry's schemas, and the frame before a value: a zero byte and the schema's id in four. */
    static class Registry {
        record Known(int id, Schema schema) {}

        static final String URL = System.getenv("SCHEMA_REGISTRY_URL");
        static final HttpClient HTTP = HttpClient.newHttpClient();
        static final Map<Integer, Schema> BY_ID = new HashMap<>();

        static Known latest(String subject) throws Exception {
            JsonNode found = ask("/subjects/" + subject + "/versions/latest");
            return new Known(found.get("id").asInt(), new Schema.Parser().parse(found.get("schema").asText()));
        }

        static byte[] encode(GenericRecord record, Known ours) throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            new DataOutputStream(bytes).writeByte(0);
            new DataOutputStream(bytes).writeInt(ours.id());
            BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(bytes, null);
            new GenericDatumWriter<GenericRecord>(ours.schema()).write(record, encoder);
            encoder.flush();
            return bytes.toByteArray();
        }

        static GenericRecord decode(byte[] value) throws Exception {
            Schema schema = BY_ID.get(ByteBuffer.wrap(value).getInt(1));
            if (schema == null) {
                JsonNode found = ask("/schemas/ids/" + ByteBuffer.wrap(value).getInt(1));
                schema = new Schema.Parser().parse(found.get("schema").asText());
                BY_ID.put(ByteBuffer.wrap(value).getInt(1), schema);
            }
            var decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
            return new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
        }

        static JsonNode ask(String path) throws Exception {
            HttpResponse<String> answer = HTTP.send(
                HttpRequest.newBuilder(URI.create(URL + path)).build(), HttpResponse.BodyHandlers.ofString());
            if (answer.statusCode() != 200) throw new IOException(path + ": " + answer.body());
            return JSON.readTree(answer.body());
        }
    }
}
