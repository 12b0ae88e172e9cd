//! What applications with migrations of Alembic are written of.

/// An `env.py` that takes the database from `DATABASE_URL`.
pub const SYNC: &str = r#"
import os
from alembic import context
from sqlalchemy import create_engine
engine = create_engine(os.environ["DATABASE_URL"])
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"#;

/// A revision whose upgrade is this code.
pub fn revision(id: &str, down: &str, body: &str) -> String {
    format!(
        "from alembic import op\nimport sqlalchemy as sa\nrevision = {id:?}\ndown_revision = {down}\n\n\
         def upgrade():\n    {body}\n"
    )
}
