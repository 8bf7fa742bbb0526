"""Puts the rows there that all nodes share from the beginning."""

from decimal import Decimal

from django.core.management.base import BaseCommand

from shop.models import Product, Tag

PRODUCTS = 12
WORDS = ["gift", "fragile", "express", "abroad", "grüßend \N{SNOWMAN}"]


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args, **options):
        Product.objects.bulk_create(
            Product(sku=f"P{number:03}", price=Decimal(number) + Decimal("0.99")) for number in range(PRODUCTS)
        )
        Tag.objects.bulk_create(Tag(word=word) for word in WORDS)
