from fastapi import APIRouter
from shop.main import SETTING
router = APIRouter()
