"""The AsyncAPI 3 document of the product: channels, messages and who sends what, seen from the product."""

from __future__ import annotations

from typing import Any

from atp.contracts.schemas import TYPED, VALUE_TYPES, consumed
from atp.topics import Topic

VERSION = "1.0.0"
KEY = {"type": "string"}


def document() -> dict[str, Any]:
    """AsyncAPI 3.0 as an object."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:atp:available-to-promise",
        "info": {
            "title": "Available to Promise",
            "version": VERSION,
            "description": "Units of a SKU that can be promised in a region, with a confidence flag per channel. "
            "Readers use isolation.level=read_committed; producers place keys by murmur2.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "{bootstrap}", "protocol": "kafka-secure", "variables": _bootstrap()}},
        "channels": {_id(topic): _channel(topic) for topic in TYPED},
        "operations": {_operation_id(topic): _operation(topic) for topic in TYPED},
        "components": {"messages": {_id(topic): _message(topic) for topic in TYPED}},
    }


def _bootstrap() -> dict[str, Any]:
    return {"bootstrap": {"default": "127.0.0.1:9092", "description": "ATP_BOOTSTRAP"}}


def _id(topic: Topic) -> str:
    return topic.name.replace(".", "-")


def _operation_id(topic: Topic) -> str:
    return f"{'receive' if consumed(topic) else 'send'}-{_id(topic)}"


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "title": topic.name,
        "description": f"{topic.role.value}; written by {topic.writer}; read by {topic.readers}",
        "messages": {"value": {"$ref": f"#/components/messages/{_id(topic)}"}},
        "tags": [{"name": topic.role.value}],
        "bindings": {"kafka": {"topic": topic.name, "topicConfiguration": _configuration(topic)}},
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    if topic.compacted:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms}


def _operation(topic: Topic) -> dict[str, Any]:
    return {
        "action": "receive" if consumed(topic) else "send",
        "channel": {"$ref": f"#/channels/{_id(topic)}"},
        "messages": [{"$ref": f"#/channels/{_id(topic)}/messages/value"}],
    }


def _message(topic: Topic) -> dict[str, Any]:
    """A reader of an input is held to the open schema, a reader of an output may rely on the closed one."""
    reading = "consumer" if consumed(topic) else "producer"
    return {
        "name": topic.name,
        "title": getattr(VALUE_TYPES[topic.name], "__name__", topic.name),
        "contentType": "application/json",
        "payload": {"$ref": f"./schemas/{topic.name}.{reading}.json"},
        "bindings": {"kafka": {"key": {**KEY, "description": topic.key}}},
    }
