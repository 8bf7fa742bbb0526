"""One instance of the shop doing business on the tables with UUID keys, while others do the same on other nodes.

Prints how many rows of its own there are at the end, as JSON: nobody else writes those.
"""

import json
import random
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from itertools import chain

from django.contrib.sessions.backends.db import SessionStore
from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from shop.management.turns import typed_turns
from shop.models import Coupon, Customer, Order, OrderLine, OrderTag, Product, Tag

# Few, so that instances meet.
CODES = [f"CODE{number}" for number in range(40)]


class ChangedMind(Exception):
    """Rolls a transaction back."""


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser):
        parser.add_argument("--node", type=int, required=True, help="which instance this is")
        parser.add_argument("--seed", type=int, required=True, help="what to do follows from it and the node")
        parser.add_argument("--rounds", type=int, help="how many things to do; else `ready`, a line, and until the end of input")

    def handle(self, *args, **options):
        shop = Shop(options["node"], random.Random(f"{options['seed']} {options['node']}"))
        rounds = options["rounds"]
        turns = typed_turns(self.stdout) if rounds is None else range(rounds)
        self.stdout.write(json.dumps(shop.trade(turns)))


class Shop:
    def __init__(self, node, rng):
        self.node = node
        self.rng = rng
        self.done = Counter()

    def trade(self, turns):
        business = [self.sell, self.sell, self.pay, self.reprice, self.describe, self.issue, self.forget, self.visit]
        business.append(self.hesitate)
        # Everything once, then anything.
        for _, act in zip(turns, chain(business, iter(lambda: self.rng.choice(business), None))):
            act()
            self.done[act.__name__] += 1
        return {
            "done": dict(self.done),
            "customers": self.customers().count(),
            "orders": Order.objects.filter(customer__node=self.node).count(),
            "lines": OrderLine.objects.filter(order__customer__node=self.node).count(),
        }

    def customers(self):
        return Customer.objects.filter(node=self.node)

    def some_customer(self):
        return self.rng.choice(list(self.customers()) or [None])

    def products(self):
        return self.rng.sample(list(Product.objects.all()), k=self.rng.randint(1, 5))

    def sell(self):
        """A customer, an order, its lines and tags in one transaction."""
        with transaction.atomic():
            number = self.rng.getrandbits(64)
            name = f"O'Neill \N{GREEK SMALL LETTER ALPHA} {number}"
            email = f"{number:x}@node{self.node}.example"
            customer = Customer.objects.create(node=self.node, email=email, name=name)
            patience = timedelta(seconds=self.rng.randint(1, 10**6), microseconds=self.rng.randint(0, 999_999))
            order = Order.objects.create(customer=customer, patience=self.rng.choice([None, patience]))
            OrderLine.objects.bulk_create(
                OrderLine(order=order, product=product, quantity=self.rng.randint(1, 9)) for product in self.products()
            )
            order.tags.set(self.rng.sample(list(Tag.objects.all()), k=2))

    def pay(self):
        """Changes to what is this node's own: one row by save(), many by update(), a many-to-many."""
        with transaction.atomic():
            for customer in [self.some_customer() for _ in range(3)]:
                if customer is not None:
                    customer.name += "!"
                    customer.save()
                    customer.orders.update(paid=True, placed=timezone.now())
                    OrderTag.objects.filter(order__customer=customer, tag__word="gift").delete()
            OrderLine.objects.filter(order__customer__node=self.node, quantity__lt=5).update(quantity=F("quantity") + 1)

    def reprice(self):
        """A change to rows that all nodes change, outside of any transaction."""
        for product in self.products():
            product.price += Decimal("0.01")
            product.save(update_fields=["price", "changed"])

    def describe(self):
        """The same for several rows in one statement, with values of all kinds."""
        products = self.products()
        for product in products:
            product.weight = self.rng.random() * 10 ** self.rng.randint(-300, 300)
            product.attributes = {"by": self.node, "quotes": "'\"", "list": [1, 2.5, None, True]}
            product.picture = self.rng.choice([None, b"", self.rng.randbytes(5000)])
        Product.objects.bulk_update(products, ["weight", "attributes", "picture"])

    def issue(self):
        """Unique values that several nodes insert at the same time, in each of Django's ways."""
        new = lambda code: Coupon(code=code, percent=self.rng.random(), issued_by=self.node)
        Coupon.objects.get_or_create(code=self.rng.choice(CODES), defaults={"percent": 0.1, "issued_by": self.node})
        Coupon.objects.bulk_create([new(code) for code in self.rng.sample(CODES, k=5)], ignore_conflicts=True)
        Coupon.objects.bulk_create(
            [new(code) for code in self.rng.sample(CODES, k=5)],
            update_conflicts=True,
            unique_fields=["code"],
            update_fields=["percent", "issued_by"],
        )
        Coupon.objects.filter(code__in=self.rng.sample(CODES, k=4)).delete()

    def forget(self):
        """A customer goes, with orders, lines and tags."""
        customer = self.some_customer()
        if customer is not None:
            customer.delete()

    def visit(self):
        """Django's own sessions have random keys: any node makes them."""
        session = SessionStore()
        session["basket"] = [str(product.id) for product in self.products()]
        session.create()
        session["seen"] = self.rng.random()
        session.save()
        if self.rng.random() < 0.5:
            session.flush()

    def hesitate(self):
        """What is rolled back must reach nobody."""
        try:
            with transaction.atomic():
                Customer.objects.create(node=-1, email="nobody@example.org", name="rolled back")
                Order.objects.all().delete()
                raise ChangedMind
        except ChangedMind:
            pass
