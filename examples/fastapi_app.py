"""A web server of your own that edits pictures.

uvicorn --app-dir examples fastapi_app:app
curl --data-binary @face.jpg "http://127.0.0.1:8000/edit?emotion=happy" -o happy.png
"""

from __future__ import annotations

import cv2
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

import mien

app = FastAPI(title="Faces with feeling")
MOST_BYTES = 20_000_000


@app.post("/edit")
async def edit(request: Request, emotion: str, intensity: float = 1.0) -> Response:
    """Return the picture in the body with another emotion, as a PNG."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise HTTPException(413, "The picture is too large.")
    return await run_in_threadpool(edited, body, emotion, intensity)


def edited(body: bytes, emotion: str, intensity: float) -> Response:
    """Edit a picture, or answer with the reason why not."""
    image = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR_RGB) if body else None
    if image is None:
        raise HTTPException(415, "The body must be a PNG, JPEG or WebP picture.")
    try:
        result = mien.edit(image, emotion=emotion, intensity=intensity, max_pixels=4096**2)
    except mien.MienError as error:
        raise HTTPException(422, str(error)) from error
    data = cv2.imencode(".png", result.image[..., ::-1])[1].tobytes()
    return Response(data, media_type="image/png", headers={"x-faces": str(result.report.faces)})
