"""The Django app: template tags, and a check of the settings when Django starts."""

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from .installed import installed


class TollhouseConfig(AppConfig):  # type: ignore[misc]  # Django has no types of its own
    """`tollhouse.django` among INSTALLED_APPS."""

    name = "tollhouse.django"
    label = "tollhouse"
    verbose_name = "Tollhouse"

    def ready(self) -> None:
        """Have `manage.py check`, and so every start, tell what is wrong with TOLLHOUSE."""
        register(settings_are_right)


def settings_are_right(**_: object) -> list[CheckMessage]:
    """The faults of the setting TOLLHOUSE."""
    try:
        installed()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="tollhouse.E001")]
    return []
