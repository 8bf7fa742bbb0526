"""The connection. What matters beside HarmonyLite is in `make_engine`; README.md says why."""

import os
from pathlib import Path

from sqlalchemy import URL, create_engine, event
from sqlalchemy.orm import sessionmaker

# Each node has its own file; HarmonyLite keeps them equal.
DATABASE = os.environ.get("BOOKS_DATABASE", str(Path(__file__).resolve().parent.parent / "books.sqlite3"))

# The example plays two releases of one application: the second one has more columns (migration 0002).
RELEASE = int(os.environ.get("BOOKS_RELEASE", "2"))


def make_engine(foreign_keys=True):
    # Seconds to wait for a lock: the sidecar writes, too, for a few milliseconds at a time.
    engine = create_engine(URL.create("sqlite", database=DATABASE), connect_args={"timeout": 20})

    @event.listens_for(engine, "connect")
    def configure(connection, _record):
        # Python's driver would begin transactions late and as SQLite's default does; SQLAlchemy shall begin them (below).
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")

    @event.listens_for(engine, "begin")
    def begin(connection):
        # With the write lock at once. A transaction that reads first and asks for the lock later is refused
        # ("database is locked") when anybody has committed in between.
        reads_only = connection.get_execution_options().get("reads_only", False)
        connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


engine = make_engine()
Session = sessionmaker(engine)
Reading = sessionmaker(engine.execution_options(reads_only=True))
