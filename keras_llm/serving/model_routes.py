"""What models there are, embeddings of texts, and a look into a model."""

import base64
import math

from fastapi import APIRouter

from keras_llm.serving.http_errors import ApiError
from keras_llm.serving.looking import Look, look_at
from keras_llm.serving.models import Models
from keras_llm.serving.schemas import EmbeddingBody, LookBody


def model_routes(models: Models) -> APIRouter:
    """What is there."""
    router = APIRouter(tags=["OpenAI"])

    def described(served):
        return {
            "id": served.name,
            "object": "model",
            "created": served.created,
            "owned_by": "keras_llm",
            "version": served.version,
            "context_length": served.context,
            "chats": served.chats,
            "labels": served.labels,
            "fills": served.fills,
            # As TensorFlow Serving says it.
            "model_version_status": [
                {
                    "version": served.version,
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ],
        }

    @router.get("/v1/models")
    def list_models():
        """The models that answer."""
        return {"object": "list", "data": [described(x) for x in models.all]}

    @router.get("/v1/models/{name}")
    def one_model(name: str):
        """One of them."""
        return described(models.get(name))

    return router


def embedding_routes(models: Models) -> APIRouter:
    """Texts as vectors."""
    router = APIRouter(tags=["OpenAI"])

    @router.post("/v1/embeddings")
    def embeddings(body: EmbeddingBody):
        """The mean of the last layer's states, or the last of them."""
        served = models.get(body.model)
        rows, count = [], 0
        for index, text in enumerate(body.input):
            ids, _ = served.text_prompt(text, "disabled", 0)
            vector = served.embedding(ids, body.pooling)
            if body.encoding_format == "base64":
                vector = base64.b64encode(vector.astype("<f4").tobytes())
                found: object = vector.decode()
            else:
                found = vector.tolist()
            count += len(ids)
            row = {"object": "embedding", "index": index, "embedding": found}
            rows.append(row)
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {
            "object": "list",
            "data": rows,
            "model": served.name,
            "usage": usage,
        }

    return router


def look_routes(models: Models) -> APIRouter:
    """What a model thinks of a text."""
    router = APIRouter(tags=["Look"])

    @router.post("/v1/look")
    def look(body: LookBody):
        """What a model thinks of a text, token by token."""
        served = models.get(body.model)
        backbone = served.backbone
        ids, hidden = served.text_prompt(body.text, "disabled", 0)
        chosen = len(ids) - 1 if body.token is None else body.token + hidden
        if chosen >= len(ids):
            raise ApiError(
                f"token must be below {len(ids) - hidden}, the number of "
                f"tokens. Received: {body.token}",
                "token",
            )
        found = served.worker.call(lambda: look_at(backbone, ids, chosen))
        return _described_look(served, found.result(), body.text, hidden)

    return router


def _described_look(served, found: Look, text: str, hidden: int) -> dict:
    """As JSON, without the tokens that were put before the text."""

    def described(token, log_probability):
        return {
            "id": token,
            "text": served.token_text(token),
            "log_probability": log_probability,
        }

    tokens = [
        described(token.token_id, token.log_probability)
        | {"alternatives": [described(*each) for each in token.alternatives]}
        for token in found.tokens[hidden:]
    ]
    nats = [token["log_probability"] or 0.0 for token in tokens]
    kinds = {block.name: block.block_type for block in served.backbone.blocks}
    return {
        "tokens": tokens,
        "bits_per_byte": -sum(nats) / math.log(2) / max(1, len(text.encode())),
        "attention": [
            {"block": name, "weights": weights[hidden:]}
            for name, weights in found.attention.items()
        ]
        or None,
        "movement": [
            {"block": name, "kind": kinds[name], "distances": row[hidden:]}
            for name, row in found.movement.items()
        ],
    }
