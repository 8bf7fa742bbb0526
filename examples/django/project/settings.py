"""Settings of the example. What matters beside HarmonyLite is OPTIONS of the database; README.md says why."""

import os
from pathlib import Path

# Each node has its own file; HarmonyLite keeps them equal.
DATABASE = os.environ.get("SHOP_DATABASE", Path(__file__).resolve().parent.parent / "shop.sqlite3")

# The example plays two releases of one application: the second one adds fields (migration 0002).
SHOP_RELEASE = int(os.environ.get("SHOP_RELEASE", "2"))

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE,
        "OPTIONS": {
            # Seconds to wait for a lock: the sidecar writes, too, for a few milliseconds at a time.
            "timeout": 20,
            # atomic() takes the write lock when it begins. With SQLite's default, a transaction that reads first and
            # writes later fails at once ("database is locked") when anybody has committed in between.
            "transaction_mode": "IMMEDIATE",
            # Readers and the one writer do not wait for each other.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

INSTALLED_APPS = [
    # First: its `migrate` replaces Django's.
    "shop",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]

# Django's own tables (auth, contenttypes) have integer keys in any case; the shop's choose for themselves.
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SECRET_KEY = "an example keeps no secrets"
USE_TZ = True
