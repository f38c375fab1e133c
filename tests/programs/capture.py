"""Write `logs/`: the output of real programs, as a pod's log contains it.

Run it by hand; `README.md` says where the programs come from.

    python tests/programs/capture.py [NAME...]

A program's folder is `/tmp/app`, its Python `/tmp/py`; Debian's packages may be unpacked anywhere (`DEB`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
APP: Final = Path("/tmp/app")
PY: Final = "/tmp/py/bin/"
DEB: Final = os.environ.get("DEB", "")
JARS: Final = ":".join(f"{DEB}/usr/share/java/{x}.jar" for x in ("logback-classic", "logback-core", "slf4j-api"))
PIP: Final = f"{PY}pip install --disable-pip-version-check --no-cache-dir --target t"

CLIENTS: Final = "--listen-client-urls http://127.0.0.1:%p --advertise-client-urls http://127.0.0.1:%p"
PEERS: Final = "--listen-peer-urls http://127.0.0.1:%q --initial-advertise-peer-urls http://127.0.0.1:%q"

#: Programs that run one after the other in a shell.
COMMANDS: Final = {
    "pip": f"{PY}pip --version; {PIP} 'numpy<2.3' tqdm",
    "pip-fails": f"{PIP} tqdm==99.1; mkdir p; echo 'raise RuntimeError(\"no compiler\")' >p/setup.py; {PIP} --no-build-isolation ./p",
    "pytest": f"{PY}python -m pytest -p no:cacheprovider -v failing.py",
    "pytest-short": f"{PY}python -m pytest -p no:cacheprovider --color=yes --tb=short failing.py",
    "pytest-native": f"{PY}python -m pytest -p no:cacheprovider --tb=native -k unknown failing.py",
    "train": f"{PY}python train.py",
    "xgboost": f"{PY}python xgb.py",
    "lightgbm": f"{PY}python lgb.py",
    "sklearn": f"{PY}python sk.py",
    "loggers": f"{PY}python loggers.py",
    "rich": f"{PY}python richly.py",
    "java": "java -XX:-UsePerfData Orders.java",
    "logback": f"javac -cp {JARS} Shop.java && java -XX:-UsePerfData -cp {JARS}:. Shop",
    "go": "go mod init shop 2>/dev/null; go build -o shop . && ./shop",
    "node": "node shop.mjs",
}
#: Programs that run on a terminal, as in a pod with `tty: true`.
ON_TERMINAL: Final = {"pip-tty": f"{PIP} --progress-bar on 'numpy<2.3'"}
#: Servers, with the requests that are sent before their end. `%p` and `%q` are free ports.
SERVERS: Final = {
    "uvicorn": (f"{PY}uvicorn app:asgi --port %p", ["/", "/pear", "/plum"]),
    "gunicorn": (f"{PY}gunicorn -b 127.0.0.1:%p --access-logfile - --no-control-socket app:wsgi", ["/", "/plum"]),
    "nginx": (f"{DEB}/usr/sbin/nginx -p {APP} -c {APP}/nginx.conf -e stderr", ["/", "/files/none", "/api"]),
    "docker-registry": (f"{DEB}/usr/bin/docker-registry serve registry.yml", ["/v2/", "/v2/x/manifests/1"]),
    "node-exporter": (
        f"{DEB}/usr/bin/prometheus-node-exporter --web.listen-address=127.0.0.1:%p --collector.disable-defaults --collector.loadavg",
        ["/metrics"],
    ),
    "etcd": (
        f"etcd --data-dir etcd {CLIENTS} {PEERS} --initial-cluster default=http://127.0.0.1:%q",
        ["/health"],
    ),
    "valkey": ("valkey-server --port %p --save '' --bind 127.0.0.1", []),
}
NGINX: Final = """daemon off; master_process off; pid nginx.pid; error_log stderr info; user root;
events { worker_connections 64; }
http { access_log /dev/stdout; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
 server { listen 127.0.0.1:%p; location / { return 200 ok; } location /files { root .; } location /api { proxy_pass http://127.0.0.1:9; } } }"""
REGISTRY: Final = "version: 0.1\nstorage: {filesystem: {rootdirectory: r}}\nhttp: {addr: '127.0.0.1:%p'}\n"


def main() -> None:
    """Capture the named programs, or all."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "NO_COLOR", "PYTHONDONTWRITEBYTECODE")}
    env |= {"PYTHONUNBUFFERED": "1", "TERM": "xterm", "TZ": "UTC"}
    for name in sys.argv[1:] or [*COMMANDS, *ON_TERMINAL, *SERVERS]:
        shutil.rmtree(APP, ignore_errors=True)
        shutil.copytree(HERE / "src", APP)
        with (HERE / "logs" / f"{name}.log").open("wb") as out:
            if name in COMMANDS:
                subprocess.run(COMMANDS[name], shell=True, cwd=APP, env=env, stdout=out, stderr=out, check=False)
            elif name in ON_TERMINAL:
                out.write(on_terminal(ON_TERMINAL[name], env))
            else:
                serve(*SERVERS[name], env, out.fileno())


def on_terminal(command: str, env: dict[str, str]) -> bytes:
    """Run a command on a terminal of 100 columns, and return its output."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        os.chdir(APP)
        os.execvpe("sh", ["sh", "-c", command], env)
    said = b""
    with contextlib.suppress(OSError):  # Linux raises this when the terminal has closed
        while piece := os.read(terminal, 65536):
            said += piece
    os.waitpid(pid, 0)
    os.close(terminal)
    return said.replace(b"\r\n", b"\n")  # as in a log of CRI


def serve(command: str, paths: list[str], env: dict[str, str], out: int) -> None:
    """Run a server, send its requests, and end it."""
    p, q = port(), port()
    (APP / "nginx.conf").write_text(NGINX.replace("%p", p))
    (APP / "registry.yml").write_text(REGISTRY.replace("%p", p))
    line = f"exec {command}".replace("%p", p).replace("%q", q)
    server = subprocess.Popen(line, shell=True, cwd=APP, env=env, stdout=out, stderr=out)
    end = time.monotonic() + 120
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", int(p)), 1).close()
            break
        time.sleep(0.1)
    for path in paths:
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(f"http://127.0.0.1:{p}{path}", timeout=5).close()
    server.terminate()
    server.wait(120)


def port() -> str:
    """Return a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


if __name__ == "__main__":
    main()
