"""What is in the books. Every key is one that no other node can give to another row."""

import enum
import uuid
from datetime import date, datetime

from sqlalchemy import JSON, Column, Enum, ForeignKey, Index, LargeBinary, String, Table, Text, UniqueConstraint, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from books.database import RELEASE


class Base(DeclarativeBase):
    pass


class Keyed:
    """A random key: any node may create rows whenever it likes."""

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)


class Kind(enum.Enum):
    ASSET = "asset"
    INCOME = "income"
    EXPENSE = "expense"


class Account(Keyed, Base):
    __tablename__ = "account"
    code: Mapped[str] = mapped_column(String(20))
    kind: Mapped[Kind] = mapped_column(Enum(Kind, name="kind", create_constraint=True))
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("account.id"))
    parent: Mapped["Account | None"] = relationship(remote_side="Account.id")
    __table_args__ = (UniqueConstraint("code", name="account_code"),)


entry_tag = Table(
    "entry_tag",
    Base.metadata,
    Column("entry_id", ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class Entry(Keyed, Base):
    """Its postings come to nothing. Only `branch` changes it; `number` is counted there."""

    __tablename__ = "entry"
    type: Mapped[str] = mapped_column(String(10))
    branch: Mapped[int]
    number: Mapped[int]
    booked: Mapped[datetime]
    memo: Mapped[str] = mapped_column(Text)
    # SQLAlchemy counts changes, to notice that somebody else has changed the row meanwhile.
    edition: Mapped[int] = mapped_column()
    if RELEASE >= 2:
        reference: Mapped[str | None] = mapped_column(String(40))
    postings: Mapped[list["Posting"]] = relationship(
        cascade="all, delete-orphan", order_by="Posting.line", passive_deletes=True
    )
    tags: Mapped[list["Tag"]] = relationship(secondary=entry_tag)
    __table_args__ = (UniqueConstraint("branch", "number", name="entry_number"),)
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "payment", "version_id_col": edition}


class Invoice(Entry):
    """In two tables: joined inheritance."""

    __tablename__ = "invoice"
    id: Mapped[uuid.UUID] = mapped_column(ForeignKey("entry.id"), primary_key=True)
    customer: Mapped[str] = mapped_column(Text)
    due: Mapped[date]
    scan: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    scan_digest: Mapped[str] = mapped_column(String(64))
    __mapper_args__ = {"polymorphic_identity": "invoice"}


class Posting(Base):
    __tablename__ = "posting"
    entry_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("account.id"))
    cents: Mapped[int]
    if RELEASE >= 2:
        cost_centre: Mapped[str] = mapped_column(ForeignKey("cost_centre.code"), server_default="main")
    __table_args__ = (Index("posting_by_account", account_id),)


class Tag(Keyed, Base):
    __tablename__ = "tag"
    word: Mapped[str] = mapped_column(String(40), unique=True)


class Rate(Base):
    """Shared: all branches quote the same currencies, and the later quotation stays."""

    __tablename__ = "rate"
    currency: Mapped[str] = mapped_column(String(3), primary_key=True)
    rate: Mapped[float]
    quoted_by: Mapped[dict] = mapped_column(JSON)


class Contact(Keyed, Base):
    """Branches enter the same address at the same time: of two such rows the later one stays. Nothing refers to them."""

    __tablename__ = "contact"
    email: Mapped[str] = mapped_column(String(80))
    branch: Mapped[int]
    __table_args__ = (Index("contact_email", func.lower("email"), unique=True),)


if RELEASE >= 2:

    class CostCentre(Base):
        __tablename__ = "cost_centre"
        code: Mapped[str] = mapped_column(String(10), primary_key=True)
        name: Mapped[str] = mapped_column(String(40))
