"""A branch at work, while others do the same on other nodes."""

import hashlib
import uuid
from datetime import date, datetime, timedelta
from itertools import chain

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from books.database import RELEASE, Session
from books.models import Account, Contact, Entry, Invoice, Kind, Posting, Rate, Tag

CURRENCIES = ["CHF", "DKK", "PLN", "SEK"]

# Few, so that branches meet.
ADDRESSES = [f"Customer{number}@example.org" for number in range(30)]


def open_books():
    """The rows that all branches share from the beginning."""
    with Session.begin() as session:
        for kind in Kind:
            parent = Account(code=kind.value, kind=kind)
            session.add(parent)
            session.add_all(Account(code=f"{kind.value} {part}", kind=kind, parent=parent) for part in range(5))
        session.add_all(Tag(word=word) for word in ["urgent", "abroad", "grüßend \N{SNOWMAN}"])


def fill_in(branch):
    """What the second release wants to know of older entries. Each branch does that for its own: nobody else changes them."""
    with Session.begin() as session:
        unknown = (Entry.branch == branch, Entry.reference.is_(None))
        session.execute(update(Entry).where(*unknown).values(reference=func.printf("%d-%06d", Entry.branch, Entry.number)))


class Branch:
    def __init__(self, branch, rng):
        self.branch = branch
        self.rng = rng

    def work(self, turns):
        business = [self.invoice, self.invoice, self.receive, self.correct, self.annul, self.quote, self.enter]
        business += [self.bill_many, self.hesitate]
        # Everything once, then anything.
        for _, act in zip(turns, chain(business, iter(lambda: self.rng.choice(business), None))):
            with Session.begin() as session:
                act(session)

    def invoice(self, session):
        """An entry with all that belongs to it, in one transaction."""
        scan = self.rng.randbytes(self.rng.choice([0, 10, 3000]))
        invoice = Invoice(
            customer=f"O'Neill \N{GREEK SMALL LETTER ALPHA} {self.rng.getrandbits(40)}",
            due=date(2026, 1, 1) + timedelta(days=self.rng.randint(0, 900)),
            scan=scan,
            scan_digest=hashlib.sha256(scan).hexdigest(),
            **self.entry(session),
        )
        invoice.postings = self.postings(session)
        invoice.tags = self.rng.sample(list(session.scalars(select(Tag))), k=self.rng.randint(0, 2))
        session.add(invoice)

    def receive(self, session):
        session.add(Entry(postings=self.postings(session), **self.entry(session)))

    def correct(self, session):
        """What is loaded, changed and saved again; lines come and go."""
        entry = self.own_entry(session)
        if entry is not None:
            entry.memo += "!"
            entry.postings[0].cents += 7
            entry.postings[-1].cents -= 7
            if len(entry.postings) > 3:
                entry.postings[0].cents += entry.postings.pop(1).cents
            entry.tags = []

    def annul(self, session):
        """The last entry goes, with everything below it; its number is given again."""
        last = select(Entry).where(Entry.branch == self.branch).order_by(Entry.number.desc()).limit(1)
        entry = session.scalars(last).first()
        if entry is not None:
            session.delete(entry)

    def quote(self, session):
        """Rows that all branches write: an upsert, and one that is loaded and saved."""
        currency = self.rng.choice(CURRENCIES)
        values = {"rate": self.rng.random() * 10 ** self.rng.randint(-300, 300), "quoted_by": {"branch": self.branch}}
        upsert = sqlite.insert(Rate).values(currency=currency, **values)
        session.execute(upsert.on_conflict_do_update(index_elements=["currency"], set_=values))
        rate = session.get(Rate, self.rng.choice(CURRENCIES))
        if rate is not None:
            rate.quoted_by = {"branch": self.branch, "quotes": "'\"", "list": [1, 2.5, None, True]}

    def enter(self, session):
        """Unique values that branches enter at the same time. A savepoint takes the refused one back."""
        try:
            with session.begin_nested():
                session.add(Contact(email=self.rng.choice(ADDRESSES), branch=self.branch))
        except IntegrityError:
            address = self.rng.choice(ADDRESSES).upper()
            session.execute(delete(Contact).where(func.lower(Contact.email) == address.lower()))

    def bill_many(self, session):
        """Without objects: many rows in one statement."""
        accounts = session.scalars(select(Account.id).where(Account.parent_id.is_not(None))).all()
        first = self.next_number(session)
        entries = [self.entry(session, number) | {"id": uuid.uuid4(), "edition": 1} for number in range(first, first + 5)]
        session.execute(insert(Entry), [entry | {"type": "payment"} for entry in entries])
        lines = [
            {"entry_id": entry["id"], "line": line, "account_id": self.rng.choice(accounts), "cents": cents}
            for entry in entries
            for line, cents in enumerate([250, -100, -150])
        ]
        session.execute(insert(Posting), lines)
        old = (Entry.branch == self.branch, Entry.number < first - 50)
        session.execute(update(Entry).where(*old).values(memo=Entry.memo + "?").execution_options(synchronize_session=False))

    def hesitate(self, session):
        """What is rolled back must reach nobody."""
        session.add(Contact(email="nobody@example.org", branch=-1))
        session.execute(update(Posting).values(cents=Posting.cents + 1))
        session.rollback()

    def entry(self, session, number=None):
        values = {"branch": self.branch, "number": number or self.next_number(session), "booked": datetime.now()}
        values["memo"] = f"booked as {self.rng.getrandbits(30)}"
        if RELEASE >= 2:
            values["reference"] = f"R{self.rng.getrandbits(20)}"
        return values

    def next_number(self, session):
        last = session.scalar(select(func.max(Entry.number)).where(Entry.branch == self.branch))
        return (last or 0) + 1

    def postings(self, session):
        """Lines that come to nothing together."""
        accounts = session.scalars(select(Account).where(Account.parent_id.is_not(None))).all()
        amounts = [self.rng.randint(1, 10**6) for _ in range(self.rng.randint(1, 4))]
        amounts.append(-sum(amounts))
        centre = {"cost_centre": self.rng.choice(["main", "field"])} if RELEASE >= 2 else {}
        return [
            Posting(line=line, account_id=self.rng.choice(accounts).id, cents=cents, **centre)
            for line, cents in enumerate(amounts)
        ]

    def own_entry(self, session):
        """A recent one."""
        own = select(Entry).where(Entry.branch == self.branch).order_by(Entry.number.desc()).limit(20)
        return self.rng.choice(session.scalars(own).all() or [None])
