"""`{% load tollhouse %}{% allowed "premium_export" as export %}{% if export %} … {% endif %}`."""

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured

from tollhouse import Check
from tollhouse.django import check

register = template.Library()


def allowed(context: Any, feature: str) -> Check:
    """The Check of the signed-in user, to be named with `as`."""
    if "request" not in context:
        raise ImproperlyConfigured(
            "{% allowed %} needs the context processor django.template.context_processors.request"
        )
    return check(context["request"], feature)


register.simple_tag(allowed, takes_context=True)
