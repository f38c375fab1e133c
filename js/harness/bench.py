"""Measures the built viewer in Chromium: first rows, a million lines in, filters, the main thread's longest gap, written to painted, rest.

Every figure is printed as a line of JSON, with the machine's load beside it; `make bench ARGS=page` holds them to the budgets.
Lines are 90 bytes; they come over the comm transport with eight credits.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page
from serve import HERE, browser_page

LINES = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
#: Regular expressions of which the worst counts, then plain texts.
FILTERS = ["/ERROR/", r"/step \d*777\d* loss=0\.1/", "/warning/i", r"/loss=0\.0.*mem=7/", "/(?:error|timeout|oom)/i", "step 0777777", "no such text"]

# The kernel answers at once: what is left is the viewer's own way from its start to its first rows.
FIRST = """() => {
  window.onOpen = (model) => {
    model.bytes(feed.event('status', { state: 'running', message: '', older: null }));
    for (let at = 0; at < 20; at++) model.bytes(feed.log(Array.from({ length: 1000 }, (_unused, i) => [Date.now() - 20000 + at * 1000 + i, 1 + (i % 3), `INFO step ${at * 1000 + i} loss=0.5 lr=3.0e-4 grad_norm=0.91 mem=70 tokens/s=18204`])));
  };
  new MutationObserver((_all, me) => {
    if (window.firstRows || !document.querySelector('[data-seq]')) return;
    me.disconnect();
    requestAnimationFrame(() => setTimeout(() => { window.firstRows = performance.now() - performance.getEntriesByName('begun')[0].startTime }));
  }).observe(document, { childList: true, subtree: true });
}"""

PREPARE = """(n) => {
  const levels = ["INFO", "INFO", "INFO", "INFO", "DEBUG", "WARNING", "INFO", "INFO", "INFO", "ERROR"];
  window.chunks = [];
  const start = Date.now() - n / 10;
  for (let at = 0; at < n; at += 1000) {
    const rows = [];
    for (let i = at; i < at + 1000; i++) rows.push([start + i / 10, 1 + (i % 3), `${levels[(i * 7919) % 10]} step ${String(i).padStart(7, "0")} loss=${((i * 31) % 997) / 1000} lr=3.0e-4 grad_norm=0.91 mem=7${i % 10} tokens/s=18204`]);
    chunks.push(new TextEncoder().encode(feed.log(rows)));
  }
  window.bytesTotal = chunks.reduce((sum, one) => sum + one.length, 0);
}"""

LOAD = """(n) => new Promise((resolve) => {
  const t0 = performance.now();
  let longest = 0, at = 0, last = t0, frames = 0, first = 0, sentTo = 0, stop = false;
  const timer = () => { const now = performance.now(); if (now - last > longest) { longest = now - last; at = now - t0 } last = now; if (!stop) setTimeout(timer, 0) };
  timer();
  const next = () => { if (sentTo < chunks.length) { const bytes = chunks[sentTo++]; model.emit("msg:custom", { type: "bytes", n: sentTo }, [new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)]) } };
  const send = model.send;
  model.send = (message) => { if (message.type === "ack") while (sentTo < chunks.length && sentTo - message.n < 8) next(); };
  for (let i = 0; i < 8; i++) next();
  const wanted = String(n).replace(/\\B(?=(\\d{3})+(?!\\d))/g, "\\u202f") + " lines";
  const look = () => {
    frames++;
    if (!first && document.querySelector("[data-seq]")) first = performance.now() - t0;
    if (document.querySelector(".cl-foot").textContent.includes(wanted)) {
      stop = true; model.send = send; window.chunks = [];
      resolve({ load_ms: Math.round(performance.now() - t0), first_rows_ms: Math.round(first), longest_main_thread_gap_ms: +longest.toFixed(1), gap_at_ms: Math.round(at), frames });
    } else requestAnimationFrame(look);
  };
  look();
})"""

FILTER = """(text) => new Promise((resolve) => {
  const input = document.querySelector("input[type=search]");
  const count = document.querySelector(".cl-filter .cl-count:not([role])");
  const before = count.textContent;
  let longest = 0, last = performance.now(), stop = false, first = 0;
  const timer = () => { const now = performance.now(); longest = Math.max(longest, now - last); last = now; if (!stop) setTimeout(timer, 0) };
  timer();
  const t0 = performance.now();
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  const seen = () => {
    if (!first && count.textContent !== before) first = performance.now() - t0;
    if (count.textContent !== before && /of/.test(count.textContent)) {
      stop = true; observer.disconnect();
      resolve({ filter: text, found: count.textContent, first_painted_ms: Math.round(first), all_painted_ms: Math.round(performance.now() - t0), longest_main_thread_gap_ms: +longest.toFixed(1) });
    }
  };
  const observer = new MutationObserver(seen);
  observer.observe(count, { childList: true, characterData: true, subtree: true });
})"""

LIVE = """([rate, seconds, perBatch]) => new Promise((resolve) => {
  const painted = [], seen = new Set();
  let longest = 0, frames = 0, late = 0, lastFrame = performance.now(), sent = 0, n = 1e6;
  const observer = new MutationObserver(() => requestAnimationFrame(() => {
    const now = performance.now();
    for (const row of document.querySelectorAll("[data-seq]")) {
      const at = /T=([\\d.]+)/.exec(row.textContent)?.[1];
      if (at && !seen.has(at)) { seen.add(at); painted.push(now - Number(at)) }
    }
  }));
  observer.observe(document.querySelector(".cl-rows"), { childList: true, subtree: true, characterData: true });
  const frame = (now) => { frames++; if (now - lastFrame > 50) late++; longest = Math.max(longest, now - lastFrame); lastFrame = now; if (!stop) requestAnimationFrame(frame) };
  let stop = false;
  requestAnimationFrame(frame);
  const timer = setInterval(() => {
    const rows = [];
    for (let i = 0; i < perBatch; i++) rows.push([Date.now(), 1 + (sent % 3), `INFO step ${sent++} loss=0.5 T=${performance.now()} live line of some length to look real`]);
    const bytes = new TextEncoder().encode(feed.log(rows));
    model.emit("msg:custom", { type: "bytes", n: ++n }, [new DataView(bytes.buffer)]);
  }, 1000 * perBatch / rate);
  setTimeout(() => {
    clearInterval(timer); stop = true; observer.disconnect();
    painted.sort((a, b) => a - b);
    const at = (q) => +painted[Math.floor((painted.length - 1) * q)].toFixed(1);
    resolve({ lines_per_s: rate, sent, painted: painted.length, p50_ms: at(.5), p95_ms: at(.95), longest_frame_gap_ms: +longest.toFixed(1), frames_per_s: Math.round(frames / seconds), frames_over_50_ms: late });
  }, seconds * 1000);
})"""


IDLE = """(lines) => {
  model.bytes(feed.event('status', { state: 'running', message: '', older: null }));
  for (let i = 1; i < 10; i++) another();
  const rows = Array.from({ length: lines }, (_unused, i) => [Date.now() - (lines - i) * 20, 1 + (i % 3), `INFO step ${i} loss=0.5 lr=3.0e-4`]);
  model.bytes(feed.log(rows));
  const heartbeat = () => model.bytes(`: hb ${Date.now()}000000\\n\\n`);
  heartbeat();
  setInterval(heartbeat, 15000);
}"""

CHART = """() => {
  for (let pod = 0; pod < 64; pod++) SOURCES[100 + pod] = { pod: `train-llm-7b-worker-${pod}`, container: "main", kind: "main", run: 0 };
  const values = (i, pod) => `loss=${(2 / (1 + i / 40) + pod / 300).toFixed(4)} acc=${(1 - 1 / (1 + i / 90) - pod / 500).toFixed(4)} grad_norm=${(0.8 + ((i * 31 + pod * 7) % 97) / 300).toFixed(3)} lr=${(3e-4 / (1 + i / 50)).toExponential(3)} tokens=${18000 + ((i * 17 + pod * 3) % 400)}`;
  window.step = (i, time) => feed.log(Array.from({ length: 64 }, (_unused, pod) => [time + pod, 100 + pod, `INFO step ${i} ${values(i, pod)}`]));
  model.traits.query = { since: 'all' };
  model.emit('change:query');
  model.bytes(feed.event('status', { state: 'running', message: '', older: null }));
  for (let i = 0; i < 300; i++) model.bytes(step(i, Date.now() - 301000 + i * 1000));
  window.longest = () => { const most = window.gap; window.gap = 0; return +most.toFixed(1) };
  let last = performance.now();
  window.gap = 0;
  const frame = (now) => { window.gap = Math.max(window.gap, now - last); last = now; requestAnimationFrame(frame) };
  requestAnimationFrame(frame);
}"""


def cpu(page: Page) -> float:
    """CPU seconds that all processes and threads of a page's browser have used."""
    session = page.context.browser.new_browser_cdp_session()
    pids = [one["id"] for one in session.send("SystemInfo.getProcessInfo")["processInfo"]]
    session.detach()
    return sum(int(one.read_text().split()[0]) for pid in pids for one in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def idle(height: int) -> dict[str, object]:
    """Ten viewers of a task that has run for twenty minutes and says nothing: the share of a core that Chromium takes."""
    with browser_page(height=height) as page:
        page.evaluate(IDLE, 60_000)
        page.wait_for_timeout(8000)
        before = cpu(page)
        page.wait_for_timeout(20_000)
        return {"viewers": 10, "window_height": height, "share_of_a_core": round((cpu(page) - before) / 20, 4)}


def first() -> dict[str, object]:
    """From the start of a page's first viewer to its first rows on the screen."""
    with browser_page(init=f"({FIRST})()") as page:
        page.wait_for_function("() => window.firstRows > 0")
        return {"first_rows_ms": round(page.evaluate("() => window.firstRows"))}


def chart() -> dict[str, object]:
    """Longest frame gaps of the chart of 64 pods with five metrics: as it opens, as values come, as the pointer moves."""
    with browser_page(width=1400, height=700) as page:
        page.wait_for_timeout(300)
        page.evaluate(CHART)
        page.wait_for_timeout(3000)
        page.evaluate("() => { window.longest(); model.traits.chart = 'time'; model.emit('change:chart') }")
        page.wait_for_function("() => document.querySelectorAll('.cl-plot').length >= 5")
        page.wait_for_timeout(2500)
        figures = {"opening_ms": page.evaluate("() => window.longest()")}
        page.evaluate("() => { let i = 300; window.going = setInterval(() => model.bytes(step(i++, Date.now())), 250) }")
        page.wait_for_timeout(5000)
        page.evaluate("() => clearInterval(window.going)")
        page.wait_for_timeout(1500)
        figures["live_ms"] = page.evaluate("() => window.longest()")
        place = page.locator(".cl-plot").first.bounding_box()
        for i in range(150):
            page.mouse.move(place["x"] + 45 + (i * 7) % (place["width"] - 60), place["y"] + 10 + i % 40)
        figures["hover_ms"] = page.evaluate("() => window.longest()")
        return {"pods": 64, "metrics": 5, **figures}


def show(name: str, figures: dict[str, object]) -> None:
    print(json.dumps({"what": name, **figures, "load": round(os.getloadavg()[0], 1)}), flush=True)


def memory() -> None:
    script = HERE / "memory.mjs"
    done = subprocess.run(["node", "--expose-gc", str(script), str(LINES)], capture_output=True, text=True, check=True, cwd=Path(HERE).parent)
    show("memory", json.loads(done.stdout))


def million() -> None:
    """What a page with a million lines does."""
    with browser_page() as page:
        page.wait_for_timeout(300)
        page.evaluate("() => { model.traits.query = { since: 'all' }; model.emit('change:query') }")
        page.evaluate("() => model.bytes(feed.event('status', { state: 'running', message: '', older: null }))")
        page.evaluate(PREPARE, LINES)
        page.wait_for_timeout(500)
        show("load", {"lines": LINES, **page.evaluate(LOAD, LINES)})
        for text in FILTERS:
            before = cpu(page)
            figures = page.evaluate(FILTER, text)
            show("filter", {**figures, "cpu_ms": round((cpu(page) - before) * 1000)})
        page.wait_for_timeout(300)
        page.fill("input[type=search]", "")
        page.wait_for_timeout(800)
        show("live", page.evaluate(LIVE, [100, 5, 1]))
        page.fill("input[type=search]", "loss")
        page.wait_for_timeout(1500)
        show("busy", page.evaluate(LIVE, [5000, 5, 100]))


show("first", first())
show("chart", chart())
million()
memory()
# In a window of a notebook's height, and in one where all of them are in sight.
for tall in [900, 5400]:
    show("idle", idle(tall))
