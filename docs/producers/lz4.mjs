// LZ4 for KafkaJS without a compiler: the package lz4 brings its native code written in JavaScript too, and takes it here.
// Leave the two lines of `cache` out where `npm ci` may compile (a C++ compiler, Python and make): that is faster.
import { createRequire } from "node:module";
import kafkajs from "kafkajs";

const require = createRequire(import.meta.url);
require("lz4/lib/utils-js.js");
require.cache[require.resolve("lz4/lib/utils.js")] = require.cache[require.resolve("lz4/lib/utils-js.js")];

const LZ4 = require("kafkajs-lz4");
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.LZ4] = new LZ4().codec;
