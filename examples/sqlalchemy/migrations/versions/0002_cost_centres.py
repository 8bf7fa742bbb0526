"""The second release: postings belong to a cost centre, entries may have a reference.

It runs on every node, at different moments. So it changes no row that a node may have changed meanwhile: the copy of this
node is perhaps an older one, and would win, being written later. `python3 -m books fill-in` does what is left to do.
"""

from alembic import op
import sqlalchemy as sa

revision = "0002"
down_revision = "0001"


def upgrade():
    # New rows that are the same on every node: whoever inserts them last changes nothing.
    op.create_table(
        "cost_centre",
        sa.Column("code", sa.String(10), primary_key=True),
        sa.Column("name", sa.String(40), nullable=False),
    )
    op.execute("INSERT INTO cost_centre(code, name) VALUES ('main', 'Head office'), ('field', 'Out there')")

    # SQLite just adds this one.
    op.add_column("entry", sa.Column("reference", sa.String(40)))

    # For a constraint Alembic makes the table anew and copies it, without triggers: the sidecar puts them back.
    with op.batch_alter_table("posting") as posting:
        posting.add_column(sa.Column("cost_centre", sa.String(10), nullable=False, server_default="main"))
        posting.create_foreign_key("posting_cost_centre", "cost_centre", ["cost_centre"], ["code"])
        posting.create_check_constraint("posting_of_something", "cents <> 0")


def downgrade():
    with op.batch_alter_table("posting") as posting:
        posting.drop_constraint("posting_of_something", type_="check")
        posting.drop_constraint("posting_cost_centre", type_="foreignkey")
        posting.drop_column("cost_centre")
    op.drop_column("entry", "reference")
    op.drop_table("cost_centre")
