"""Tables with UUID keys, which all nodes write at any time, and tables with integer keys, which they write in turns."""

import uuid

from django.conf import settings
from django.db import models


class Keyed(models.Model):
    """Its key collides with that of no other node: any node may create rows whenever it likes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)

    class Meta:
        abstract = True


class Product(Keyed):
    """Shared: all nodes change the same rows, and the later change wins."""

    sku = models.CharField(max_length=20, unique=True)
    price = models.DecimalField(max_digits=10, decimal_places=2)
    weight = models.FloatField(default=0.1)
    attributes = models.JSONField(default=dict)
    picture = models.BinaryField(null=True)
    changed = models.DateTimeField(auto_now=True)
    if settings.SHOP_RELEASE >= 2:
        # NULL without a default: SQLite just adds the column. NOT NULL with a default: Django rebuilds the table.
        origin = models.CharField(max_length=40, null=True)
        warehouse = models.CharField(max_length=20, default="main")


class Coupon(Keyed):
    """Nodes invent the same codes at the same time: of two rows with one code the later one stays."""

    code = models.CharField(max_length=20, unique=True)
    percent = models.FloatField()
    issued_by = models.IntegerField()


class Tag(Keyed):
    word = models.CharField(max_length=40, unique=True)


class Customer(Keyed):
    """`node` is the one that created it, and the only one that changes or deletes it and what belongs to it."""

    node = models.IntegerField()
    email = models.EmailField(unique=True)
    name = models.TextField()


class Order(Keyed):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    placed = models.DateTimeField(auto_now_add=True)
    patience = models.DurationField(null=True)
    paid = models.BooleanField(default=False)
    # Named, because the table that Django would make by itself has an integer key.
    tags = models.ManyToManyField(Tag, through="OrderTag")
    if settings.SHOP_RELEASE >= 2:
        priority = models.IntegerField(default=0)


class OrderTag(Keyed):
    order = models.ForeignKey(Order, models.CASCADE)
    tag = models.ForeignKey(Tag, models.CASCADE)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["order", "tag"], name="order_has_a_tag_once")]


class OrderLine(Keyed):
    order = models.ForeignKey(Order, models.CASCADE, related_name="lines")
    product = models.ForeignKey(Product, models.PROTECT)
    quantity = models.PositiveIntegerField()


class Category(models.Model):
    """From here on: integer keys."""

    name = models.CharField(max_length=40, unique=True)
    parent = models.ForeignKey("self", models.CASCADE, null=True)


class Label(models.Model):
    word = models.CharField(max_length=40, unique=True)


class Article(models.Model):
    category = models.ForeignKey(Category, models.CASCADE)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.SET_NULL, null=True)
    slug = models.SlugField(unique=True)
    body = models.TextField()
    # The table in between has an integer key of its own.
    labels = models.ManyToManyField(Label)
