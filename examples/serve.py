"""Serve an exported network: POST an image, get its mask as PNG. Needs onnxruntime, fastapi and uvicorn, no torch.

MODEL=model.onnx uvicorn serve:app
curl --data-binary @image.png localhost:8000/mask --output mask.png
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Response

from criinet.data.images import read_image, write_mask
from criinet.deploy.runtime import load_exported
from criinet.errors import DataError

app = FastAPI(title="Masks")
predictor = load_exported(os.environ["MODEL"])


@app.get("/")
def about() -> dict[str, Any]:
    """Return what the network was trained for: its classes, method, dataset, and what its outputs mean."""
    return predictor.card.model_dump()


@app.post("/mask")
def mask(image: Annotated[bytes, Body(media_type="application/octet-stream")]) -> Response:
    """Return a PNG of class indices, as large as the image (PNG, JPEG, TIFF, BMP or WebP) that was sent."""
    with TemporaryDirectory() as folder:
        sent, made = Path(folder) / "image", Path(folder) / "mask.png"
        sent.write_bytes(image)
        try:
            pixels = read_image(sent)
        except DataError as error:
            raise HTTPException(422, "This is not an image that can be read.") from error
        write_mask(made, predictor.predict(pixels).mask, len(predictor.classes))
        return Response(made.read_bytes(), media_type="image/png")
