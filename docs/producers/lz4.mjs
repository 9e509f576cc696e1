// LZ4 for KafkaJS without a compiler: the package lz4 has its native code in JavaScript too, and is given that here.
// Where `npm ci` may compile (a C++ compiler, Python and make), leave the two lines in the middle out: that is faster.
import { createRequire } from "node:module";
import kafkajs from "kafkajs";

const require = createRequire(import.meta.url);
require("lz4/lib/utils-js.js");
require.cache[require.resolve("lz4/lib/utils.js")] = require.cache[require.resolve("lz4/lib/utils-js.js")];

const LZ4 = require("kafkajs-lz4");
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.LZ4] = new LZ4().codec;
