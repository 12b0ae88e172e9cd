from shop.models import Item

__all__ = ["Item"]
