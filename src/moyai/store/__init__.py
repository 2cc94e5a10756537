"""The log: append, read, verify, checkpoint. SQLAlchemy is imported by `store.log` alone, so import that late."""
