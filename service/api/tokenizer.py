"""``tokenize``, ``detokenize`` and ``tokenizer_info``, under ``/v1`` and, for clients, beside it.

They use the worker's own tokenizer and never wait for an engine.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, g, request
from pydantic import BaseModel

from model.tokenizers.tokenizer import Tokenizer
from service.api.intake import take_request
from service.front import Front
from service.protocol.tokenizer import (
    DetokenizeAnswer,
    DetokenizeRequest,
    TokenizeAnswer,
    TokenizeRequest,
    TokenizerInfo,
)
from service.served_model import ServedModel


def tokenizer_blueprint(front: Front) -> Blueprint:
    """The endpoints over ``front``."""
    blueprint = Blueprint("tokenizer", __name__)

    @blueprint.post("/v1/tokenize", provide_automatic_options=False)
    @blueprint.post("/tokenize", provide_automatic_options=False)
    def tokenize() -> Response:
        model, body = take_request(front, TokenizeRequest)
        return _json(_tokenize(model, body))

    @blueprint.post("/v1/detokenize", provide_automatic_options=False)
    @blueprint.post("/detokenize", provide_automatic_options=False)
    def detokenize() -> Response:
        model, body = take_request(front, DetokenizeRequest)
        text = model.tokenizer.decode(body.tokens, skip_special=body.skip_special_tokens)
        return _json(DetokenizeAnswer(prompt=text, content=text))

    @blueprint.get("/v1/tokenizer_info", provide_automatic_options=False)
    @blueprint.get("/tokenizer_info", provide_automatic_options=False)
    def show_tokenizer() -> Response:
        g.model = front.models.find(request.args.get("model"))
        return _json(_describe(g.model))

    return blueprint


def _tokenize(model: ServedModel, body: TokenizeRequest) -> TokenizeAnswer:
    if isinstance(body.text, str):
        token_ids = _encode(model.tokenizer, body.text, body)
        names = _names(model.tokenizer, token_ids) if body.return_token_strs else None
        return TokenizeAnswer(
            tokens=token_ids,
            count=len(token_ids),
            max_model_len=model.max_length,
            token_strs=names,
        )
    token_lists = [_encode(model.tokenizer, text, body) for text in body.text]
    name_lists = None
    if body.return_token_strs:
        name_lists = [_names(model.tokenizer, token_ids) for token_ids in token_lists]
    return TokenizeAnswer(
        tokens=token_lists,
        count=sum(map(len, token_lists)),
        max_model_len=model.max_length,
        token_strs=name_lists,
    )


def _encode(tokenizer: Tokenizer, text: str, body: TokenizeRequest) -> list[int]:
    start = [tokenizer.end_of_text_id] if body.add_special_tokens else []
    return start + tokenizer.encode(text, parse_special=body.parse_special)


def _names(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    return [tokenizer.token_text(token_id) for token_id in token_ids]


def _describe(model: ServedModel) -> TokenizerInfo:
    tokenizer = model.tokenizer
    end_of_text = tokenizer.token_text(tokenizer.end_of_text_id)
    unknown_id = tokenizer.unknown_id
    return TokenizerInfo(
        tokenizer_class="PreTrainedTokenizerFast",
        kind=tokenizer.kind,
        vocab_size=tokenizer.vocab_size,
        bos_token=end_of_text,
        eos_token=end_of_text,
        unk_token=None if unknown_id is None else tokenizer.token_text(unknown_id),
        pad_token=None,
        bos_token_id=tokenizer.end_of_text_id,
        eos_token_id=tokenizer.end_of_text_id,
        model_max_length=model.max_length,
        chat_template=None,
        digest=tokenizer.digest,
    )


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(ensure_ascii=True), mimetype="application/json")
