"""The first release."""

from alembic import op
import sqlalchemy as sa

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "account",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("code", sa.String(20), nullable=False),
        sa.Column("kind", sa.Enum("ASSET", "INCOME", "EXPENSE", name="kind", create_constraint=True), nullable=False),
        sa.Column("parent_id", sa.Uuid(), sa.ForeignKey("account.id")),
        sa.UniqueConstraint("code", name="account_code"),
    )
    op.create_table(
        "entry",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("type", sa.String(10), nullable=False),
        sa.Column("branch", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("booked", sa.DateTime(), nullable=False),
        sa.Column("memo", sa.Text(), nullable=False),
        sa.Column("edition", sa.Integer(), nullable=False),
        sa.UniqueConstraint("branch", "number", name="entry_number"),
    )
    op.create_table(
        "invoice",
        sa.Column("id", sa.Uuid(), sa.ForeignKey("entry.id"), primary_key=True),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("due", sa.Date(), nullable=False),
        sa.Column("scan", sa.LargeBinary(), nullable=False),
        sa.Column("scan_digest", sa.String(64), nullable=False),
    )
    op.create_table(
        "posting",
        sa.Column("entry_id", sa.Uuid(), sa.ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("line", sa.Integer(), primary_key=True),
        sa.Column("account_id", sa.Uuid(), sa.ForeignKey("account.id"), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
    )
    op.create_index("posting_by_account", "posting", ["account_id"])
    op.create_table(
        "tag",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("word", sa.String(40), nullable=False, unique=True),
    )
    op.create_table(
        "entry_tag",
        sa.Column("entry_id", sa.Uuid(), sa.ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("tag_id", sa.Uuid(), sa.ForeignKey("tag.id"), primary_key=True),
    )
    op.create_table(
        "rate",
        sa.Column("currency", sa.String(3), primary_key=True),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("quoted_by", sa.JSON(), nullable=False),
    )
    op.create_table(
        "contact",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("email", sa.String(80), nullable=False),
        sa.Column("branch", sa.Integer(), nullable=False),
    )
    op.create_index("contact_email", "contact", [sa.text("lower(email)")], unique=True)
