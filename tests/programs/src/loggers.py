import logging, sys
import structlog, loguru
from pythonjsonlogger.json import JsonFormatter

def broken(n):
    return 1 / n

std = logging.getLogger("app.db"); std.setLevel(10); std.propagate = False
h = logging.StreamHandler(); h.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s")); std.addHandler(h)
std.info("connected", extra={"host": "db-1", "ms": 12.5}); std.error("query failed", extra={"rows": 0})
try: broken(0)
except ZeroDivisionError: std.exception("no answer")
structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper("iso"), structlog.dev.ConsoleRenderer(colors=True)])
s = structlog.get_logger(); s.info("order placed", order=7, total=12.5); s.warning("slow", seconds=3.2)
structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper("iso"), structlog.processors.LogfmtRenderer()])
s = structlog.get_logger(); s.error("order refused", order=8, reason="no stock")
loguru.logger.success("model saved"); loguru.logger.info("epoch {} done", 3)
try: broken(0)
except ZeroDivisionError: loguru.logger.exception("division failed")
