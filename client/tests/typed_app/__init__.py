"""An app as its own `mypy --strict` sees it: never run, checked by `make typecheck`.

A gate changes no signature. Each `assert_type` is a promise, each `type: ignore` a mistake that must stay one.
"""
