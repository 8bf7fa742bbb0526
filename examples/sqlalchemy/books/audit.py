"""What must be true of the books on any node at any moment, whoever wrote what."""

import hashlib

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import selectinload, undefer

from books.models import Contact, Entry, Invoice, Posting, entry_tag


class Fault(Exception):
    """Something does not add up."""


def look(session):
    """Quick, for looking again and again: a transaction of another branch must never be seen in part."""
    postings = select(Posting.entry_id).group_by(Posting.entry_id)
    nothing(session, "an entry does not come to nothing", postings.having(func.sum(Posting.cents) != 0))
    nothing(session, "an entry has one line only", postings.having(func.count() < 2))
    nothing(session, "an entry has no lines", select(Entry.id).where(~Entry.postings.any()))
    nothing(session, "a line has no entry", select(Posting.entry_id).where(Posting.entry_id.not_in(select(Entry.id))))
    invoices = select(Invoice.__table__.c.id)
    nothing(session, "half an invoice", select(Entry.__table__.c.id).where(Entry.type == "invoice", Entry.id.not_in(invoices)))
    nothing(session, "what was rolled back is there", select(Contact.id).where(Contact.branch == -1))


def audit(session):
    """Everything, also what takes longer."""
    look(session)
    for invoice in session.scalars(select(Invoice).options(undefer(Invoice.scan))):
        if hashlib.sha256(invoice.scan).hexdigest() != invoice.scan_digest:
            raise Fault(f"the scan of invoice {invoice.id} is not what was filed")


def report(session, branch):
    """What a branch has booked, to the last value. Only its own instance writes these rows."""
    own = select(Entry).where(Entry.branch == branch).order_by(Entry.number)
    entries = session.scalars(own.options(selectinload(Entry.postings), selectinload(Entry.tags))).all()
    digest = hashlib.sha256()
    for entry in entries:
        tags = sorted(tag.word for tag in entry.tags)
        for row in [entry, *entry.postings]:
            values = [getattr(row, column.key) for column in inspect(type(row)).column_attrs if column.key != "scan"]
            digest.update(repr((values, tags)).encode())
    return {
        "entries": len(entries),
        "invoices": sum(isinstance(entry, Invoice) for entry in entries),
        "lines": sum(len(entry.postings) for entry in entries),
        "tags": session.scalar(select(func.count()).select_from(entry_tag.join(Entry.__table__)).where(Entry.branch == branch)),
        "digest": digest.hexdigest(),
    }


def nothing(session, fault, query):
    found = session.execute(query.limit(1)).first()
    if found is not None:
        raise Fault(f"{fault}: {found}")
