"""The names that a module of the SDK uses in its annotations."""

import ast
import functools
import importlib
import inspect
from typing import Any

import stripe


@functools.cache
def names_in(module: str) -> dict[str, Any]:
    """A module's names, those included that it imports for type checkers only."""
    loaded = importlib.import_module(module)
    names = {"StripeObject": stripe.StripeObject, **vars(loaded)}
    for node in ast.walk(ast.parse(inspect.getsource(loaded))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stripe"):
            source = importlib.import_module(node.module)
            names.update({alias.asname or alias.name: getattr(source, alias.name) for alias in node.names})
    return names
