"""Writes the parts of docs/reference that the code knows best. Run it after a change; a test tells when it was not.

Each page is written by people; between its two marks stands what this script puts there.
"""

import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

import tollhouse_server
from tollhouse_sandbox.resources import OPERATIONS
from tollhouse_server import cli as command_line
from tollhouse_server import telemetry
from tollhouse_server.app import build_app
from tollhouse_server.domain.catalog_schema import json_schema
from tollhouse_server.domain.errors import Problem
from tollhouse_server.domain.mistakes import Mistake
from tollhouse_server.domain.rules import Rule
from tollhouse_server.settings import Settings

REFERENCE = Path(__file__).parent / "reference"
BEGIN, END = "<!-- written by docs/write_reference.py -->\n\n", "\n<!-- until here -->\n"


def pages() -> Iterator[tuple[Path, str]]:
    """Each file with the text it should have."""
    for name, write in WRITTEN.items():
        path = REFERENCE / name
        before, _, rest = path.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        yield path, before + BEGIN + write() + END + after
    yield REFERENCE / "catalog.schema.json", json.dumps(json_schema(), indent=2) + "\n"


def openapi() -> dict[str, Any]:
    """The document that the service serves at /openapi.json."""
    settings = Settings(
        _env_file=None,
        database_url=SecretStr("postgresql://nowhere/nothing"),
        stripe_secret_key=SecretStr("sk_test_nothing"),
        stripe_webhook_secret=SecretStr("whsec_" + "0" * 32),
    )

    async def ask() -> dict[str, Any]:
        transport = httpx.ASGITransport(build_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://tollhouse") as client:
            return dict((await client.get("/openapi.json")).json())

    return anyio.run(ask)


def http_api() -> str:
    document = openapi()
    parts: list[str] = []
    group = None
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if operation["tags"] != group:
                group = operation["tags"]
                parts.append(f"## {group[0]}\n")
            parts.append(_operation(document, f"{method.upper()} {path}", operation))
    return "\n".join(parts)


def _operation(document: dict[str, Any], name: str, operation: dict[str, Any]) -> str:
    lines = [f"### `{name}`\n", f"**{operation['summary']}** {operation['description']}\n"]
    scopes = [scope for one in operation.get("security", []) for scope in one.get("ProjectKey", [])]
    if scopes:
        lines.append(f"The key needs the scope `{scopes[0]}`.\n")
    fields = [_parameter(one) for one in operation.get("parameters", [])] + list(_body(document, operation))
    if fields:
        lines += ["| | in | |", "|---|---|---|", *fields, ""]
    for status, answer in operation["responses"].items():
        example = answer.get("content", {}).get("application/json", {}).get("example")
        if status < "300" and example is not None:
            shown = json.dumps(example, indent=2, ensure_ascii=False)
            lines += [f"{status}:\n", f"```json\n{shown}\n```\n"]
    codes = [
        f"`{code.partition('`: ')[0]}` ({status})"
        for status, answer in operation["responses"].items()
        if "application/problem+json" in answer.get("content", {})
        for code in answer["description"].removeprefix("`").split("; `")
    ]
    if codes:
        lines.append(f"Errors: {', '.join(codes)}.\n")
    return "\n".join(lines)


def _parameter(one: dict[str, Any]) -> str:
    return _field(one["name"], one["in"], one["schema"], one["required"], one.get("description"))


def _body(document: dict[str, Any], operation: dict[str, Any]) -> Iterator[str]:
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        shape = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        for name, field in shape["properties"].items():
            yield _field(name, "body", field, name in shape.get("required", []), field.get("description"))
    elif schema:
        yield f"| the whole | body | {schema.get('description', 'What Stripe sends')} |"


def _field(name: str, where: str, schema: dict[str, Any], required: bool, said: str | None) -> str:
    choices = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    kind = " or ".join(_kind(one) for one in choices)
    default = schema.get("default")
    usual = "required" if required else f"default `{json.dumps(default)}`" if default is not None else "optional"
    return f"| `{name}` | {where} | {kind}, {usual}. {said or schema.get('description', '')} |".replace(" |", " |")


def _kind(schema: dict[str, Any]) -> str:
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if schema.get("format") == "date-time":
        return "instant"
    return str(schema.get("type", "any"))


def settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        if field.is_required():
            usual = "required"
        else:
            usual = (
                ""
                if field.default is None
                else f"`{str(field.default).lower() if field.default is False else field.default}`"
            )
        rows.append(f"| `{name.upper()}` | {usual} | {field.description} |")
    return "\n".join(["| variable | default | |", "|---|---|---|", *rows, ""])


def problems() -> list[type[Problem]]:
    """Every problem there is, whichever module it is in."""
    for module in pkgutil.walk_packages(tollhouse_server.__path__, "tollhouse_server."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(kind: type[Problem]) -> Iterator[type[Problem]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    return sorted(below(Problem), key=lambda one: (one.code, one.__name__))


def errors() -> str:
    rows: dict[str, str] = {}
    for one in problems():
        said = " ".join((one.__doc__ or "").split())
        rows.setdefault(one.code, f"| `{one.code}` | {one.status} | {said} |")
    mistakes = [f"- `{mistake}`: {mistake.meaning}" for mistake in Mistake]
    listed = "Of a catalog and of a grant, each entry of `errors` has a `code` of its own:"
    return "\n".join(["| code | status | |", "|---|---|---|", *rows.values(), "", listed, "", *mistakes, ""])


def rules() -> str:
    rows = [f"| `{rule}` | {rule.sentence} |" for rule in Rule]
    return "\n".join(["| reason | the sentence |", "|---|---|", *rows, ""])


def cli() -> str:
    return "\n".join(_command(command, f"tollhouse {name}") for name, command in commands().items())


def commands() -> dict[str, Any]:
    """Every verb of the `tollhouse` command, as it is typed."""

    verbs = {verb: command_line.load(verb) for verb in command_line.VERBS}
    for group in command_line.GROUPS:
        verbs |= {f"{group} {verb}": command for verb, command in command_line.load(group).commands.items()}
    return verbs


def _command(command: Any, name: str) -> str:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join([name, *(one.name.upper() for one in arguments if one.name), *("[OPTIONS]" for _ in options[:1])])
    rows = [f"| `{one.name.upper()}` | {getattr(one, 'help', '')} |" for one in arguments if one.name]
    rows += [f"| `{one.opts[0]}` | {getattr(one, 'help', '')} |" for one in options]
    table = ["| | |", "|---|---|", *rows, ""] if rows else []
    return "\n".join([f"### `{usage}`\n", f"{' '.join((command.help or '').split())}\n", *table])


def metrics() -> str:
    declared = [one for one in vars(telemetry).values() if isinstance(one, MetricWrapperBase)]
    rows = []
    for one in declared:
        labels = ", ".join(f"`{label}`" for label in one._labelnames)
        described = next(iter(one.describe()))
        name = described.name + ("_total" if described.type == "counter" else "")
        rows.append(f"| `{name}` | {described.type} | {labels} | {described.documentation} |")
    return "\n".join(["| metric | kind | labels | |", "|---|---|---|---|", *rows, ""])


def sandbox_calls() -> str:
    """What the sandbox answers, path by path."""
    lines = ["| Call | Parameters |", "|---|---|"]
    for operation in sorted(OPERATIONS, key=lambda each: (each.path, each.method)):
        names = ", ".join(f"**{name}**" if name in operation.required else name for name in sorted(operation.accepts))
        lines.append(f"| `{operation.method} {operation.path}` | {names} |")
    return "\n".join([*lines, "", "Those in bold are required.", ""])


WRITTEN: dict[str, Callable[[], str]] = {
    "sandbox-coverage.md": sandbox_calls,
    "http-api.md": http_api,
    "settings.md": settings,
    "errors.md": errors,
    "reasons.md": rules,
    "cli.md": cli,
    "metrics.md": metrics,
}


if __name__ == "__main__":
    for path, text in pages():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            sys.stdout.write(f"{path.name} written\n")
