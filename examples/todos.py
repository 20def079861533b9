"""The todos blueprint with SQLAlchemy: what is public for everybody, one's own besides.

    DATABASE_URL=postgresql://… python examples/todos.py

Run it as often as you like.
"""

import os
from uuid import UUID

from sqlalchemy import create_engine, make_url, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from tenantry_rls import TenantContext, tenant_transaction


class Base(DeclarativeBase):
    pass


class Todo(Base):
    __tablename__ = "todos"
    __table_args__ = {"schema": "api"}  # noqa: RUF012 (SQLAlchemy's way)

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"))
    title: Mapped[str]
    completed: Mapped[bool] = mapped_column(server_default=text("false"))
    # Left out: PostgreSQL fills in whose transaction it is.
    customer_id: Mapped[str | None] = mapped_column(server_default=text("current_customer_id()"))


def main(url: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    people = {
        "ann": TenantContext("ann"),
        "bob": TenantContext("bob"),
        "administrator": TenantContext(user_role="administrator"),
    }
    with Session(engine) as session:
        for name, context in people.items():
            with tenant_transaction(session, context):
                ensure_todo(session, f"{name} writes this")
        with tenant_transaction(session, people["ann"]):
            done = update(Todo).where(Todo.customer_id == "ann").values(completed=True)
            session.execute(done)
        for name, context in people.items():
            with tenant_transaction(session, context):
                print(f"{name}:", *titles(session))
        print("nobody:", *titles(session))
    engine.dispose()


def ensure_todo(session: Session, title: str) -> None:
    """One with this title, for whoever's transaction it is: an administrator's is public."""
    if session.scalars(select(Todo).where(Todo.title == title)).first() is None:
        session.add(Todo(title=title))


def titles(session: Session) -> list[str]:
    """All that there are, for whoever's transaction it is."""
    query = select(Todo).where(Todo.title.like("% writes this")).order_by(Todo.title)
    return [
        f"{todo.title.split()[0]}={'done' if todo.completed else 'open'}"
        for todo in session.scalars(query)
    ]


if __name__ == "__main__":
    main(os.environ["DATABASE_URL"])
