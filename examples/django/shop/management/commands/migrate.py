"""Django's `migrate`, with a list of applied migrations that each node keeps for itself.

Were that list replicated, a node would hear that a migration has been applied before it has applied it, and skip it.
HarmonyLite leaves tables without a primary key alone, so this one gets none.
"""

from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

LOCAL_LIST = "CREATE TABLE django_migrations(id integer, app varchar(255), name varchar(255), applied datetime)"


class Command(migrate.Command):
    def handle(self, *args, **options):
        connection = connections[options["database"]]
        if not MigrationRecorder(connection).has_table():
            with connection.cursor() as cursor:
                cursor.execute(LOCAL_LIST)
        return super().handle(*args, **options)
