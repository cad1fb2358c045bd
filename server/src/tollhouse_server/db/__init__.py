"""PostgreSQL: the engine (the only commit), the tables, the migrations."""

from . import drift_tables as drift_tables  # whoever asks `tables.metadata` for all tables finds these too
