"""``stream_options``: what a stream tells besides the text."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict

from service.protocol.fields import Limits, Shaped, refuse_type


class StreamOptions(BaseModel):
    """Whether chunks, and an extra last event, report usage."""

    model_config = ConfigDict(frozen=True)

    include_usage: bool = False
    continuous_usage_stats: bool = False


def _read_stream_options(value: object, name: str, limits: Limits) -> StreamOptions:
    if not isinstance(value, dict):
        raise refuse_type(name, "an object", value)
    given = {key: value[key] for key in StreamOptions.model_fields if value.get(key) is not None}
    for key, flag in given.items():
        if type(flag) is not bool:
            raise refuse_type(f"{name}.{key}", "true or false", flag)
    return StreamOptions(**given)


_FLAG = {"type": ["boolean", "null"]}
StreamOptionsField = Annotated[
    StreamOptions,
    Shaped(
        _read_stream_options,
        {
            "type": "object",
            "properties": {"include_usage": _FLAG, "continuous_usage_stats": _FLAG},
        },
    ),
]
