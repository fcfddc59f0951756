"""Reads an offline run of W&B back: records in LevelDB's log format, each a protobuf of wandb's own definition."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

HEADER = 7  # bytes of the file's, and of each piece's: checksum, length, kind
BLOCK = 32768
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """Every record of a run-*.wandb file."""
    content, at, whole = path.read_bytes(), HEADER, b""
    assert content[:4] == b":W&B"
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:
            at += BLOCK - at % BLOCK  # too little room for a piece: zeros
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        whole += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def items(found: Any) -> dict[str, Any]:
    """Name -> value of a record's items; nested names are joined by a dot."""
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in found}


class OfflineRun:
    """What is in the file: `run` (id, group, tags), `config`, `history` (a dictionary a row), `summary`, `artifacts` by name."""

    def __init__(self, path: Path) -> None:
        self.config: dict[str, Any] = {}
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.artifacts: list[str] = []
        for record in records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= items(record.run.config.update)
            elif kind == "config":
                self.config |= items(record.config.update)
            elif kind == "history":
                self.history.append(items(record.history.item))
            elif kind == "summary":
                self.summary |= items(record.summary.update)
            elif kind == "artifact":
                self.artifacts.append(record.artifact.name)
            elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
                self.artifacts.append(record.request.log_artifact.artifact.name)
