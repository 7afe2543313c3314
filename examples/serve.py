"""Serve an exported network: POST an image, get its mask as PNG. Needs onnxruntime, fastapi and uvicorn, no torch.

MODEL=model.onnx uvicorn serve:app
curl --data-binary @image.png localhost:8000/mask --output mask.png
"""

import os
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request, Response

from criinet.data.images import TooManyPixelsError, read_header, read_image
from criinet.data.masks import write_mask
from criinet.deploy.runtime import load_exported
from criinet.errors import DataError

MAX_BYTES, MAX_PIXELS = 64 * 2**20, 25_000_000
"""Of an image that is sent: a file of a few kilobytes may hold pixels enough to fill the memory."""

app = FastAPI(title="Masks", docs_url=None, redoc_url=None, openapi_url=None)
predictor = load_exported(os.environ["MODEL"])
turn = Lock()
"""Held by the one request whose image is decoded and segmented."""


@app.get("/")
def about() -> dict[str, Any]:
    """Return what the network was trained for: its classes, method, dataset, and what its outputs mean."""
    return predictor.card.model_dump()


async def body(request: Request) -> bytes:
    """Receive an image, and no more of it than MAX_BYTES."""
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > MAX_BYTES:
            raise HTTPException(413, f"The image has over {MAX_BYTES:,} bytes. Scale it down.")
    return bytes(received)


@app.post("/mask")
def mask(image: Annotated[bytes, Depends(body)]) -> Response:
    """Return a PNG of class indices, as large as the image (PNG, JPEG, TIFF, BMP or WebP) that was sent."""
    too_many = HTTPException(413, f"The image has over {MAX_PIXELS:,} pixels. Crop it or scale it down.")
    with turn, TemporaryDirectory() as folder:
        sent, made = Path(folder) / "image", Path(folder) / "mask.png"
        sent.write_bytes(image)
        try:
            if prod(read_header(sent).size) > MAX_PIXELS:
                raise too_many
            pixels = read_image(sent)
        except TooManyPixelsError as error:
            raise too_many from error
        except DataError as error:
            raise HTTPException(422, "This is not an image that can be read.") from error
        write_mask(made, predictor.predict(pixels).mask, len(predictor.classes))
        return Response(made.read_bytes(), media_type="image/png")
