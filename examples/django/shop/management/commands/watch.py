"""Looks at the shop while others write it: a transaction of another node must never be seen in part.

Prints how often it has looked, as JSON.
"""

import json

from django.core.management.base import BaseCommand, CommandError

from shop.management.turns import typed_turns
from shop.models import Order


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args, **options):
        looks = 0
        for _ in typed_turns(self.stdout, pause=0.2):
            # Orders are placed with their lines in one transaction, and go with them.
            empty = Order.objects.filter(lines=None).first()
            if empty is not None:
                raise CommandError(f"order {empty.id} has no lines")
            looks += 1
        self.stdout.write(json.dumps({"looks": looks}))
