"""The review page: a queue of the images worth correcting first, a brush, and a model that learns from what was drawn.

Needs the extra ``review`` (FastAPI and uvicorn). The page itself is plain files in ``static/``.
"""

from criinet.review.server import serve

__all__ = ["serve"]
