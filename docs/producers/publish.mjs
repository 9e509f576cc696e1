// Publishes events of agents, lines of JSON on standard input, and prints what was decided of each.
//
//     npm ci --ignore-scripts
//     echo '{"tenant_id": "acme", "agent_id": "planner-1", "event_type": "execution_completed"}' | node publish.mjs
import "./lz4.mjs";
import { randomBytes, randomUUID } from "node:crypto";
import { createInterface } from "node:readline";
import { SchemaRegistry } from "@kafkajs/confluent-schema-registry";
import kafkajs from "kafkajs";

const { CompressionTypes, Kafka, Partitioners, logLevel } = kafkajs;
const brokers = (process.env.BOOTSTRAP_SERVERS ?? "127.0.0.1:9092").split(",");
const registry = new SchemaRegistry({ host: process.env.SCHEMA_REGISTRY_URL });
const kafka = new Kafka({ clientId: "producer-node", brokers, logLevel: logLevel.ERROR });

const TOPIC = "kaizen.events";
const POOLS = ["priority.urgent", "priority.normal", "priority.background"];
const schema = await registry.getLatestSchemaId(`${TOPIC}-value`);
const undecided = new Set();

// A service that is traced passes on the `traceparent` of its request.
const traceparent = `00-${randomBytes(16).toString("hex")}-${randomBytes(8).toString("hex")}-01`;

async function message(given) {
  const event = { event_id: randomUUID(), occurred_at: Date.now(), ...given };
  undecided.add(event.event_id);
  const key = `${event.tenant_id}/${event.agent_id}`;
  return {
    key,
    value: await registry.encode(schema, event), // what is not given has its default
    headers: {
      ce_specversion: "1.0",
      ce_id: event.event_id,
      ce_source: "/producers/node",
      ce_type: `cognistream.kaizen.${event.event_type.replaceAll("_", ".")}`,
      ce_time: new Date(event.occurred_at).toISOString(),
      ce_subject: key,
      "content-type": "application/avro",
      traceparent,
    },
  };
}

async function publish() {
  const messages = [];
  for await (const line of createInterface({ input: process.stdin })) messages.push(await message(JSON.parse(line)));
  // murmur2 of the key's bytes, as Java does it: the agent's partition is the same for all producers.
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true });
  await producer.connect();
  await producer.send({ topic: TOPIC, acks: -1, compression: CompressionTypes.LZ4, messages });
  await producer.disconnect();
}

async function read() {
  const consumer = kafka.consumer({ groupId: "producer-node" }); // committed records only, unless told otherwise
  await consumer.connect();
  await consumer.subscribe({ topics: POOLS, fromBeginning: true });
  const done = new Promise((resolve) => {
    const eachMessage = async ({ topic, message }) => {
      const record = await registry.decode(message.value);
      if (undecided.delete(record.event_id)) {
        console.log(JSON.stringify({ pool: topic, traceparent: `${message.headers.traceparent}`, record }));
      }
      if (undecided.size === 0) resolve();
    };
    consumer.run({ eachMessage });
    setTimeout(resolve, 60_000).unref();
  });
  await done;
  await consumer.disconnect();
}

await publish();
await read();
if (undecided.size) {
  console.error(`no decision within a minute: ${[...undecided]}`);
  process.exitCode = 1;
}
