"""Tells people and scripts where everything is."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from .kept import write_private


@dataclass(frozen=True)
class Running:
    """Where the parts of a running `tollhouse dev` are."""

    service: str
    sandbox: str | None
    demo: str | None
    admin_api_key: str
    project_keys: dict[str, str]
    data_dir: str

    def write(self, ready_file: Path) -> None:
        """Write it as JSON, with the supervisor's `pid`, for its owner alone."""
        content = asdict(self) | {"pid": os.getpid(), "docs": f"{self.service}/docs"}
        write_private(ready_file, json.dumps(content, indent=2))

    def show(self, console: Console) -> None:
        """The addresses in a panel at a terminal, plain lines elsewhere; what is to be copied stands on lines alone."""
        addresses, title = "\n".join(self._addresses()), "Tollhouse is running"
        if console.is_terminal:
            console.print(Panel(Text(addresses), title=title, border_style="green", expand=False))
        else:
            console.print(f"{title}\n{addresses}", markup=False)
        console.print("\n".join(["", *self._keys(), "", *self._next_steps()]), markup=False)

    def _addresses(self) -> list[str]:
        places = {
            "Demo app": self.demo,
            "Stripe sandbox": self.sandbox,
            "API": self.service,
            "API reference": f"{self.service}/docs",
            "Data and logs": self.data_dir,
        }
        return [f"{name:<16}{place}" for name, place in places.items() if place]

    def _keys(self) -> list[str]:
        keys = {"Operator key": self.admin_api_key}
        keys |= {f"Key {slug}": key for slug, key in self.project_keys.items()}
        return [f"{name:<16}{key}" for name, key in keys.items()]

    def _next_steps(self) -> list[str]:
        if self.demo is None or self.sandbox is None:
            return ["Ctrl-C stops everything."]
        return [
            f"1. Buy something: open {self.demo}, choose a plan and pay with one of the test cards.",
            f"2. Travel in time: move the clock at {self.sandbox} a month ahead and watch the renewal.",
            "3. Ask why ada may or may not export:",
            f"   (set -a; . {os.path.relpath(self.data_dir)}/env; .venv/bin/tollhouse why pdf-tool ada premium_export)",
            "",
            "Ctrl-C stops everything; the data stay.",
        ]
