"""Reads what W&B wrote offline. Its own reader is `wandb leet inspect`, which 0.20 does not have."""

import json
import struct


def read_run(folder):
    """The records of an offline run: messages of W&B's own, in a file of the form of LevelDB's log."""
    from wandb.proto.wandb_internal_pb2 import Record  # here: most tests do without W&B

    block, header, file_header = 32768, struct.Struct("<IHB"), 7
    content, place, message, records = next(folder.glob("*.wandb")).read_bytes(), file_header, b"", []
    while place + header.size <= len(content):
        if (left := block - place % block) < header.size:
            place += left
            continue
        _, length, part = header.unpack_from(content, place)
        place += header.size + length
        message += content[place - length : place]
        if part in (1, 4):  # whole, last
            records.append(Record.FromString(message))
            message = b""
    return records


def values_of(items):
    """A dict of what was told; of a picture or histogram its parts."""
    found = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
    dicts = {key: value for key, value in found.items() if isinstance(value, dict)}
    return found | {f"{key}.{part}": of for key, value in dicts.items() for part, of in value.items()}


def told_of(records, kind, name):
    """Every value of a name, in the order of telling; of a picture or histogram its type."""
    inner = {"history": "item", "summary": "update"}[kind]
    each = [values_of(getattr(getattr(record, kind), inner)) for record in records if record.HasField(kind)]
    wanted = f"{name}._type", name
    return [next(items[key] for key in wanted if key in items) for items in each if any(key in items for key in wanted)]
