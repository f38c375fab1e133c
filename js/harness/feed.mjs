// A kernel made of thin air: a model as anywidget gives it, whose comm streams the log of a training of three workers.
const encoder = new TextEncoder();

export const SOURCES = {
  1: { pod: "train-llm-7b-worker-0", container: "main", kind: "main", run: 0, node: "gpu-1" },
  2: { pod: "train-llm-7b-worker-1", container: "main", kind: "main", run: 0, node: "gpu-2" },
  3: { pod: "train-llm-7b-worker-2", container: "main", kind: "main", run: 0, node: "gpu-3" },
  4: { pod: "train-llm-7b-worker-0", container: "istio-proxy", kind: "sidecar", run: 0 },
  5: { pod: "train-llm-7b-worker-1", container: "istio-proxy", kind: "sidecar", run: 0 },
  6: { pod: "train-llm-7b-worker-0", container: "fetch-data", kind: "init", run: 0 },
  7: { pod: "train-llm-7b-worker-2", container: "main", kind: "main", run: 1, node: "gpu-3" },
};

export class Feed {
  seq = 0;
  constructor(task) {
    this.task = task;
  }
  event(name, data) {
    return `id: c${this.seq}\nevent: ${name}\ndata: ${JSON.stringify({ task: this.task, ...data })}\n\n`;
  }
  /** rows: [ms, source, text] */
  log(rows) {
    const t0 = BigInt(Math.floor(rows[0][0])) * 1000000n;
    const used = Object.fromEntries(rows.map(([, s]) => [s, SOURCES[s]]));
    const first = this.seq;
    this.seq += rows.length;
    return this.event("log", { seq: first, sources: used, t0: String(t0), dt: rows.map(([ms]) => Math.round((ms - Math.floor(rows[0][0])) * 1e6)), s: rows.map(([, s]) => s), o: rows.map(() => 1), m: rows.map(([, , m]) => m) });
  }
  notice(name, data) {
    const text = this.event(name, { seq: this.seq, ...data });
    this.seq++;
    return text;
  }
}

export function fakeModel(traits, onSend) {
  const handlers = {};
  const model = {
    traits,
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; },
    save_changes() {},
    send: (message) => queueMicrotask(() => onSend(message, model)),
    on: (name, f) => (handlers[name] ??= new Set()).add(f),
    off: (name, f) => handlers[name]?.delete(f),
    emit: (name, ...args) => { for (const f of handlers[name] ?? []) f(...args); },
  };
  let n = 0;
  model.bytes = (text) => {
    const bytes = encoder.encode(text);
    model.emit("msg:custom", { type: "bytes", n: ++n }, [new DataView(bytes.buffer)]);
  };
  return model;
}

const ns = (ms) => `${Math.floor(ms)}000000`;
let random = 7;
const rnd = () => (random = (random * 16807) % 2147483647) / 2147483647;

export function training(feed, start, seconds) {
  const out = [];
  out.push(feed.event("status", { state: "running", message: "", older: "old" }));
  out.push(feed.notice("status", { notice: "started", time: ns(start), source: SOURCES[6], created: ns(start - 16000), scheduled: ns(start - 14000), inits: 1 }));
  out.push(feed.log([[start + 100, 6, "downloading s3://ml/data/shard-0001.tar"], [start + 1900, 6, "fetched 48 shards in 1.8 s"]]));
  out.push(feed.notice("status", { notice: "ended", time: ns(start + 2000), source: SOURCES[6], exit_code: 0, reason: "Completed" }));
  for (const s of [1, 2, 3]) out.push(feed.notice("status", { notice: "started", time: ns(start + 2100), source: SOURCES[s], created: ns(start - 16000), scheduled: ns(start - 14000 + s * 50), inits: 1 }));
  let step = 1100;
  let restarted = false;
  for (let t = start + 2200; t < start + seconds * 1000; t += 900) {
    const rows = [];
    step++;
    for (const s of [1, 2, restarted ? 7 : 3]) {
      const jitter = rnd() * 200;
      rows.push([t + jitter, s, `epoch 3 step ${step} loss=${(2.2 - step / 9000 + rnd() * 0.02).toFixed(4)} lr=3.0e-4 grad_norm=${(0.8 + rnd() * 0.2).toFixed(2)}`]);
      if (rnd() > 0.7) rows.push([t + jitter + 20, s, JSON.stringify({ time: new Date(t).toISOString(), level: "info", message: "checkpoint saved", path: `s3://ml/ckpt/${step}`, bytes: 14210332, seconds: 3.2, shards: [1, 2, 3], meta: { host: "gpu-1", ok: true } })]);
      if (rnd() > 0.9) rows.push([t + jitter + 30, s, `2026-11-24 14:03:24,518 WARNING trainer: loss scale reduced from=65536 to=32768 overflow=true`]);
    }
    if (rnd() > 0.8) rows.push([t + 250, 1, `train:  10%|█         | 124/2000\rtrain:  62%|██████    | 1240/2000 [04:05<02:30, 3.1it/s]`]);
    if (rnd() > 0.85) rows.push([t + 260, 2, `\u001b[32mINFO\u001b[0m \u001b[1mdata\u001b[0m prefetch queue at \u001b[36m87 %\u001b[0m, see https://example.org/runs/42`]);
    if (rnd() > 0.6) rows.push([t + 300, rnd() > 0.5 ? 4 : 5, `[2026-11-24T14:03:22.001Z] "GET /healthz HTTP/1.1" 200 - 0 2 1 "-" "kube-probe/1.31"`]);
    rows.sort((a, b) => a[0] - b[0]);
    out.push(feed.log(rows));
    if (!restarted && t > start + seconds * 820) {
      restarted = true;
      out.push(feed.notice("gap", { from: ns(t + 400), to: ns(t + 2400), reason: "rotated away before they could be read", lines: 2118, source: SOURCES[3], hint: "The kubelet keeps 5 files of 10 MiB. Allow nodes/proxy so that rotated files can be read." }));
      out.push(feed.log(["Traceback (most recent call last):", '  File "/app/train.py", line 212, in step', '    assert torch.isfinite(loss), f"loss is NaN at step {self.step}"', `RuntimeError: loss is NaN at step ${step}`].map((m, i) => [t + 420 + i, 3, m])));
      out.push(feed.notice("status", { notice: "ended", time: ns(t + 500), source: SOURCES[3], exit_code: 1, reason: "Error" }));
      out.push(feed.notice("status", { notice: "started", time: ns(t + 700), source: SOURCES[7] }));
      out.push(feed.log([[t + 720, 7, `resuming from s3://ml/ckpt/${step - 10}`]]));
    }
  }
  return out.join("");
}
