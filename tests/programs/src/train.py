import logging
import math
import random
import sys
import time

from tqdm import tqdm

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
log = logging.getLogger("trainer")
random.seed(1)
log.info("GPU available: False, used: False")
print("  | Name  | Type   | Params\n---------------------------------\n0 | model | Linear | 7.9 K\n---------------------------------\n7.9 K     Trainable params", flush=True)
for epoch in range(2):
    with tqdm(range(20), desc=f"Epoch {epoch}", file=sys.stdout, ascii=False, ncols=100, mininterval=0) as bar:
        for step in bar:
            loss = math.exp(-(epoch * 20 + step) / 10) + random.random() / 100
            bar.set_postfix(v_num=0, train_loss=f"{loss:.3f}")
            time.sleep(0.01)
    log.info("epoch %d step %d val_loss=%.4f val_acc=%.3f", epoch, (epoch + 1) * 20, loss * 1.1, 1 - loss)
log.warning("val_loss did not improve in the last 3 records")


class DataError(Exception):
    pass


def load(path):
    try:
        return open(path)
    except OSError as error:
        raise DataError(f"shard {path} cannot be read") from error


try:
    load("/data/shard-7")
except DataError:
    log.exception("evaluation failed")
load("/data/shard-8")
