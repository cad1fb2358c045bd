"""PostgreSQL and Valkey of our own, for `tollhouse dev` and the tests: nothing to install, nothing left behind."""
