"""What changed between two pictures of an object, as `previous_attributes` tells it. Pure."""

from tollhouse_sandbox.store import Json


def difference(before: Json, now: Json) -> Json:
    """The old values of what changed: key by key in objects, whole in lists, null for a key that was not there."""
    old: Json = {}
    for key in [*before, *(key for key in now if key not in before)]:
        was, is_now = before.get(key), now.get(key)
        if was == is_now:
            continue
        both = isinstance(was, dict) and isinstance(is_now, dict)
        old[key] = difference(was, is_now) if both else was  # type: ignore[arg-type]
    return old


def restored(now: Json, old: Json) -> Json:
    """The object as it was, of what it is and the old values of what changed."""
    was = dict(now)
    for key, value in old.items():
        inner = now.get(key)
        was[key] = restored(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return was
