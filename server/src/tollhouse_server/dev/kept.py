"""What one run of `tollhouse dev` keeps for the next, readable by its owner alone."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self


@dataclass
class Kept:
    """The secrets of a data directory."""

    admin_api_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    webhook_endpoint: str | None = None
    """The sandbox's id of our endpoint, `we_…`."""
    webhook_secret: str | None = None
    project_keys: dict[str, str] = field(default_factory=dict)
    """Project slug → API key."""

    @classmethod
    def load(cls, data_dir: Path) -> Self:
        """What the last run kept; fresh secrets where there was none."""
        try:
            return cls(**json.loads((data_dir / "secrets.json").read_text()))
        except FileNotFoundError:
            return cls()

    def save(self, data_dir: Path) -> None:
        write_private(data_dir / "secrets.json", json.dumps(asdict(self), indent=2))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read; whoever reads meanwhile sees the old text or the new one, whole."""
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as output:
        output.write(text)
    unfinished.replace(file)
