"""PostgreSQL: the engine (the only commit), the tables, the migrations."""
