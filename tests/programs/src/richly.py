import logging, time
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import Progress, track
from rich.traceback import install
console = Console(width=100, force_terminal=True)
logging.basicConfig(level="NOTSET", format="%(message)s", datefmt="[%X]", handlers=[RichHandler(console=console, rich_tracebacks=True)])
log = logging.getLogger("rich")
log.info("Server starting..."); log.warning("cache is cold"); log.error("Error 37")
with Progress(console=console, refresh_per_second=5) as progress:
    a = progress.add_task("[red]Downloading...", total=30); b = progress.add_task("[green]Processing...", total=30)
    for i in range(30):
        progress.update(a, advance=1); progress.update(b, advance=0.5); time.sleep(0.02)
def area(side):
    return {"square": side * side}["circle"]
try: area(3)
except KeyError: log.exception("no such shape")
install(console=console, width=100)
area(4)
