"""The routes of the HTTP API: each module has `router(state) -> APIRouter`, and `app.py` lists them."""
