"""The one error of starting."""


class CannotRun(RuntimeError):
    """`tollhouse dev` cannot start as things are; the message says why and what to do."""
