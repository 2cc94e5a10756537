"""The revisions of a log's tables, for Alembic. `moyai.store.upgrade` runs them; nobody else needs to."""
