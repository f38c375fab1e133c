// A log gateway that sends one event per line, the baseline of the bench: express, client-node's `Log` for each container
// and viewer, one SSE event per line. It heeds a slow viewer (many do not), and ends when the last container's stream
// does.
//
//     KUBECONFIG=... PORT=... node gateway.js      then GET /logs/NAMESPACE/JOB

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { PassThrough } from 'node:stream';
import { CoreV1Api, KubeConfig, Log } from '@kubernetes/client-node';
import express from 'express';

const config = new KubeConfig();
config.loadFromDefault();
for (const cluster of config.clusters) cluster.skipTLSVerify ||= cluster.server.startsWith('http:'); // the sandbox
const core = config.makeApiClient(CoreV1Api);
const logs = new Log(config);
const app = express();

app.get('/logs/:namespace/:job', async (request, response) => {
  const { namespace, job } = request.params;
  const { items } = await core.listNamespacedPod({ namespace, labelSelector: `job-name=${job}` });
  response.setMaxListeners(0);
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache, no-transform' });
  response.flushHeaders();
  const streams = items.flatMap(({ metadata, spec }) =>
    spec.containers.map(({ name }) => forward(namespace, metadata.name, name, response)),
  );
  await Promise.all(streams);
  response.end('event: end\ndata: {}\n\n');
});

async function forward(namespace, pod, container, response) {
  const stream = new PassThrough();
  const lines = createInterface({ input: stream });
  lines.on('line', (line) => {
    if (!response.write(`data: ${JSON.stringify({ pod, container, line })}\n\n`)) {
      lines.pause();
      response.once('drain', () => lines.resume());
    }
  });
  const closed = once(lines, 'close');
  const request = await logs.log(namespace, pod, container, stream, { follow: true, timestamps: true });
  response.on('close', () => request.abort());
  stream.on('error', () => {}); // the viewer has gone
  await closed;
}

app.listen(Number(process.env.PORT), '127.0.0.1', () => console.log('listening'));
