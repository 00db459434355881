// Calls a server with every message in gzip: `node client.js HOST:PORT FOLDER_OF_PROTOS...`.
"use strict";

const assert = require("node:assert");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, ...includeDirs] = process.argv.slice(2);
const loaded = loader.loadSync("scorewire/v1/prediction.proto", { includeDirs, keepCase: true });
const { PredictionService } = grpc.loadPackageDefinition(loaded).scorewire.v1;
const client = new PredictionService(address, grpc.credentials.createInsecure(), {
  "grpc.default_compression_algorithm": grpc.compressionAlgorithms.gzip,
});

function request(model, count) {
  const numbers = Array.from({ length: 2 * count }, (_, i) => i % 7);
  return { model, rows: { row_count: count, numbers, texts: Array(count).fill("de") } };
}

function predict(message) {
  return new Promise((resolve, reject) => {
    client.Predict(message, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  for (const count of [1, 1000]) {
    const answer = await predict(request("sum", count));
    assert.strictEqual(answer.outputs[0].numbers.length, count);
  }
  await assert.rejects(predict(request("none", 1)), { code: grpc.status.NOT_FOUND });
  const stream = client.PredictStream();
  for (let i = 0; i < 5; i++) {
    stream.write({ correlation_id: i, request: request("sum", 500) });
  }
  stream.end();
  let answers = 0;
  for await (const { response } of stream) {
    assert.strictEqual(response.outputs[0].numbers.length, 500);
    answers += 1;
  }
  assert.strictEqual(answers, 5);
}

main().then(
  () => client.close(),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
