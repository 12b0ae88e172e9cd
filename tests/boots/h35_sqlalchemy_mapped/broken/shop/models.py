from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import declarative_base

Base = declarative_base()


class Item(Base):
    __tablename__ = "items"
    id: int = Column(Integer, primary_key=True)
    name: str = Column(String(20))
