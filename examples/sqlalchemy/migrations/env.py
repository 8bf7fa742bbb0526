"""Runs migrations on one node's database. What matters beside HarmonyLite: `include_name`, `version_table_pk`; README.md says why."""

from alembic import context

from books.database import make_engine
from books.models import Base

# With foreign keys enforced, the DROP TABLE of a table that is made anew would delete what refers to it.
engine = make_engine(foreign_keys=False)


def is_of_the_application(name, kind, _parents):
    """The sidecar's tables are in this database, too: `alembic check` and `revision --autogenerate` shall not drop them."""
    return kind != "table" or not name.startswith("__harmonylite__")


with engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_of_the_application,
        # ALTER TABLE of SQLite can do little: the rest is done by making the table anew.
        render_as_batch=True,
        # A migration happens wholly or not at all. (Alembic leaves that out for SQLite, because of what Python's driver
        # does by default; books/database.py switches that off.)
        transactional_ddl=True,
        # Which migrations have been applied is each node's own affair: a table without primary key is not replicated.
        version_table_pk=False,
    )
    with context.begin_transaction():
        context.run_migrations()
