"""The program of the demo's containers. It looks like a training, computes nothing and needs only Python.

Run `python train.py ROLE`; ROLE is prepare, train or metrics. `CORTEX_DEMO_SECONDS` is its duration.
"""

import json
import logging
import math
import os
import random
import sys
import time
from pathlib import Path

SECONDS = float(os.environ.get("CORTEX_DEMO_SECONDS", "90"))
EPOCHS, STEPS = 6, 60
HOT_C = 82
POD = os.environ.get("POD", "train-demo-local")
RANDOM = random.Random(POD)  # noqa: S311 - no secret


def prepare() -> None:
    """Write the lines of an init container that checks its data."""
    print("mounting data set s3://demo/images (read only)")
    for part in range(1, 6):
        print(f"shard {part}/5 verified, {RANDOM.randint(180, 220)} MiB")
        time.sleep(0.15)
    print("data ready")


def train() -> None:
    """Write the lines of a training."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log = logging.getLogger("trainer")
    log.info("model resnet-demo, 25.6 M parameters, batch 256, seed %d", RANDOM.randint(1, 999))
    pause = SECONDS / (EPOCHS * (STEPS + 4))
    failing_step = (RANDOM.randint(2, EPOCHS - 1), RANDOM.randint(10, STEPS - 10))
    for epoch in range(1, EPOCHS + 1):
        for step in range(1, STEPS + 1):
            done = (epoch - 1) + step / STEPS
            loss = 2.3 * math.exp(-0.45 * done) + 0.08 + RANDOM.gauss(0, 0.03)
            rate = 3e-4 * 0.5 * (1 + math.cos(math.pi * done / EPOCHS))
            log.info(
                "epoch %d step %d loss=%.4f lr=%.2e samples/s=%.0f", epoch, step, loss, rate, RANDOM.gauss(2950, 60)
            )
            if RANDOM.randint(1, 80) == 1:
                log.warning("gradient norm %.1f clipped to 1.0", RANDOM.uniform(4, 30))
            if (epoch, step) == failing_step:
                recover(log)
            time.sleep(pause)
        bar(epoch, 4 * pause)
        print(
            json.dumps(
                {"level": "info", "msg": "epoch done", "epoch": epoch, "val_acc": round(1 - math.exp(-0.4 * epoch), 4)}
            )
        )
    log.info("training finished, weights saved to /models/resnet-demo.pt")


def recover(log: logging.Logger) -> None:
    """Log a traceback, and continue."""
    shard = Path(f"/data/shard-{RANDOM.randint(1, 5)}.tar")
    try:
        shard.read_bytes()
    except OSError:
        log.exception("data loader worker died, restarting it")
    time.sleep(0.5)
    log.info("data loader worker is back")


def bar(epoch: int, seconds: float) -> None:
    """Draw a progress bar as tqdm does."""
    for i in range(21):
        sys.stderr.write(f"\rvalidating epoch {epoch}: {5 * i:3d}%|{'#' * i}{'-' * (20 - i)}| {i * 25}/500")
        sys.stderr.flush()
        time.sleep(seconds / 21)
    sys.stderr.write("\n")


def metrics() -> None:
    """Write the JSON lines of a sidecar."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        celsius = RANDOM.randint(58, 84)
        hot = {"level": "warning", "msg": "gpu is hot"} if celsius > HOT_C else {"level": "info", "msg": "gpu"}
        sample = {"util": RANDOM.randint(78, 99), "mem_gib": round(RANDOM.uniform(31, 34), 1), "temp_c": celsius}
        print(json.dumps({"ts": round(time.time(), 3), **hot, **sample}))
        time.sleep(2)


if __name__ == "__main__":
    {"prepare": prepare, "train": train, "metrics": metrics}[sys.argv[1]]()
