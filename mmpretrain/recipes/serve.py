"""Models behind an HTTP address, until a signal ends it."""

import asyncio
import json
import logging
import logging.handlers
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.installed import require
from mmpretrain.core.settings import build
from mmpretrain.recipes.looks import plural, say
from mmpretrain.recipes.search import open_indexes
from mmpretrain.recipes.served.folder import open_folder, require_model
from mmpretrain.serving.served import Served
from mmpretrain.serving.settings import Serving

LOG_BYTES, LOG_FILES = 10_000_000, 3
SIGINT_CODE = 128 + signal.SIGINT


def serve(folders: Sequence[Path], options: dict[str, Any], log: Path | None, console: Console) -> int:
    """Serve runs and exports; returns the exit code.

    Args:
        options: settings of `Serving` that differ from the defaults.
        log: a line for each request; None: `logs/serve.log` of the first folder.

    Raises:
        ConfigError: a package is missing, a folder is no model, or the address is taken.
    """
    require(["fastapi", "uvicorn", "python_multipart"], "serve", "serve")
    settings = build(Serving, options, "serve")
    for folder in folders:
        require_model(folder)
    from mmpretrain.serving.app import Site
    from mmpretrain.serving.memory import give_memory_back
    from mmpretrain.serving.server import Server, listen

    give_memory_back()
    socket = listen(settings.host, settings.port)  # refused before models are loaded
    models = open_all(folders, console)
    logger = open_log(log or folders[0] / "logs" / "serve.log")
    site = Site(models, settings, logger)
    server = Server(site, settings)
    host, port = socket.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(console, f"serving {', '.join(each.facts.name for each in models)} on http://{shown}:{port} (Ctrl-C stops)")
    socket.listen(max(128, settings.connections))
    asyncio.run(server.serve([socket]))
    cut = site.gate.cut
    told = f"{plural(cut, 'request')} took too long to wait for" if cut else "every accepted request was answered"
    say(console, f"stopped; {told}")
    return SIGINT_CODE if server.signal == signal.SIGINT else 0


def open_all(folders: Sequence[Path], console: Console) -> list[Served]:
    """Every model by a name of its own."""
    found: list[Served] = []
    for folder, name in zip(folders, names_of(folders), strict=True):
        found.append(open_folder(folder, name, open_indexes(folder)))
        facts = found[-1].facts
        say(console, f"{name}: {folder}, step {facts.step}, can {', '.join(sorted(facts.can))}")
    return found


def names_of(folders: Sequence[Path]) -> list[str]:
    """Those of the folders; equal ones with what stands above them.

    Raises:
        ConfigError: a folder stands twice.
    """
    paths = [folder.resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ConfigError("serve: a folder stands twice; name each once")
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["-".join(path.parts[-depth:]).replace("/", "") for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def open_log(path: Path) -> logging.Logger:
    """A file that does not grow without bound.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES)
    except OSError as error:
        raise ConfigError(f"--log: {path}: {error.strerror}; name another file") from None
    handler.setFormatter(Lines())
    logger = logging.Logger("serve")
    logger.addHandler(handler)
    return logger


class Lines(logging.Formatter):
    """A JSON object a line, with the time in front."""

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps({"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S"), **json.loads(record.getMessage())})
