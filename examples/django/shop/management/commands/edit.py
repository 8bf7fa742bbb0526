"""One instance of the shop at work on the tables with integer keys. Only one node may do that at a time.

Prints how many rows there are at the end, as JSON.
"""

import json
import random

from django.contrib.auth.models import Group, Permission, User
from django.core.management.base import BaseCommand
from django.db import transaction

from shop.models import Article, Category, Label


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--rounds", type=int, required=True, help="how many things to do")
        parser.add_argument("--seed", type=int, required=True, help="what to do follows from it")

    def handle(self, *args, **options):
        rng = random.Random(options["seed"])
        for round in range(options["rounds"]):
            write(rng, f"{options['seed']}-{round}")
            if round % 4 == 3:
                revise(rng)
        models = [Article, Category, Label, User, Group, Article.labels.through, User.groups.through]
        self.stdout.write(json.dumps({model._meta.db_table: model.objects.count() for model in models}))


def write(rng, name):
    """New rows in every table, those between many-to-many ones too. Some have known keys, SQLite chooses the others."""
    with transaction.atomic():
        user = User.objects.create_user(f"user {name}", email=f"{name}@example.org")
        group, _ = Group.objects.get_or_create(name=f"group {rng.randint(1, 9)}")
        group.permissions.set(rng.sample(list(Permission.objects.all()), k=3))
        user.groups.add(group)
        user.user_permissions.add(*group.permissions.all()[:2])
        parent = any_of(rng, Category)
        category = Category.objects.create(name=f"category {name}", parent=parent)
        labels = [Label.objects.get_or_create(word=f"word {rng.randint(1, 30)}")[0] for _ in range(3)]
        for part in range(3):
            article = Article.objects.create(category=category, author=user, slug=f"{name}-{part}", body="long " * 200)
            article.labels.set(labels)


def revise(rng):
    """Changes and deletes. The last row of a table goes, too: AUTOINCREMENT does not give its key again."""
    Article.objects.filter(author__isnull=True).update(body="nobody wrote this")
    Article.objects.order_by("-id").first().delete()
    for article in rng.sample(list(Article.objects.order_by("id")), k=2):
        article.labels.clear()
        article.slug += "-2"
        article.save()
    any_of(rng, User).delete()
    if rng.random() < 0.3:
        # With everything below it.
        any_of(rng, Category).delete()
    any_of(rng, Label).delete()


def any_of(rng, model):
    return rng.choice(list(model.objects.order_by("id")) or [None])
