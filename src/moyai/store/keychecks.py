"""Marks of the keys of a shared log: control planes that take turns at it must have the same keys."""

from sqlalchemy import Connection, bindparam, insert, select

from moyai.store.schema import KEY_CHECK
from moyai.store.session import Session

_MARK = select(KEY_CHECK.c.value).where(KEY_CHECK.c.name == bindparam("wanted"))


class KeyChecks:
    """The marks of one log, by the key's name. A mark is 32 bytes from which no key can be had."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> dict[str, bytes]:
        """Every mark. Raises LogError."""
        wanted = select(KEY_CHECK.c.name, KEY_CHECK.c.value).order_by(KEY_CHECK.c.name)
        return {row.name: row.value for row in self._session.read(lambda c: c.execute(wanted).all())}

    def keep(self, name: str, mark: bytes) -> bytes:
        """The mark that is kept under `name`: this one, where none was. Raises LogError."""

        def store(connection: Connection) -> bytes:
            known = connection.execute(_MARK, {"wanted": name}).scalar()
            if known is None:
                connection.execute(insert(KEY_CHECK), {"name": name, "value": mark})
            return mark if known is None else known

        return self._session.write(store)
