"""What could not be decided, kept: the original bytes, their place, the reason, and a word for people.

Dead letters are rare until a producer goes wrong, and then they are many: so they too are written in columns. Only
headers, which Kafka and Avro write differently, are taken apart one record at a time. A record batch that was refused
whole becomes one letter with its bytes as fetched.
"""

from __future__ import annotations

import io
from typing import Any, Final

import fastavro
import numpy as np

from schemas.avro_encode import Constant, Encoder
from schemas.catalog import SchemaIds, schema_of
from schemas.columns import Column, ColumnBatch, Layout, Longs, RefusedBatch
from schemas.reasons import Reason
from schemas.record_headers import NO_HEADERS, headers_of
from schemas.wire import encode

from .intake import Decoded, Source
from .outputs import Columns, Outbox

TOPIC: Final = "dead.letters"

WORDS: Final = {
    Reason.NO_VALUE: ("form", "the value is null"),
    Reason.EMPTY_VALUE: ("form", "the value has no bytes"),
    Reason.BAD_MAGIC: ("form", "the first byte of the value is not 0: no Confluent frame"),
    Reason.TRUNCATED: ("form", "the value is shorter than its frame of five bytes"),
    Reason.UNKNOWN_SCHEMA: ("form", "no schema has this id"),
    Reason.SCHEMA_UNRESOLVABLE: ("form", "the writer's schema cannot be read as this topic's"),
    Reason.UNDECODABLE: ("form", "the bytes are not a value of the writer's schema"),
    Reason.NO_KEY: ("form", "the key is null or empty"),
    Reason.BAD_KEY: ("form", "the key is not tenant/agent"),
    Reason.BAD_AGENT_ID: ("form", "the agent's id is not 1-128 bytes of UTF-8 without control characters"),
    Reason.KEY_MISMATCH: ("form", "the key is not tenant_id/agent_id of the event"),
    Reason.BAD_EVENT_ID: ("form", "event_id is not 1-128 bytes"),
    Reason.BAD_NUMBER: ("form", "a number is not finite, or negative where it cannot be"),
    Reason.BAD_TIMESTAMP: ("form", "the record's timestamp is outside the policy's years"),
    Reason.TEXT_TOO_LONG: ("form", "a text that is copied has more than 1,024 bytes"),
    Reason.EVENT_ID_REUSED: ("repeat", "an event of this agent and id came lately with other bytes"),
    Reason.WRONG_PARTITION: ("row", "murmur2 of the key is another partition: check the producer's partitioner"),
    Reason.TOO_MANY_UNREGISTERED: ("row", "too many agents of this partition were never registered"),
    Reason.BATCH_TOO_LARGE: ("batch", "the record batch is too large when decompressed"),
    Reason.RECORD_TOO_LARGE: ("batch", "the record batch holds a record too large for dead.letters"),
    Reason.UNPARSABLE_BATCH: ("batch", "the record batch has a right checksum and wrong content"),
    Reason.BAD_CRC: ("batch", "the record batch has a wrong checksum"),
}
"""Per reason: the stage that refused, and what it means."""

_LETTER = Layout(
    (
        Column("offset", "long"),
        Column("timestamp", "long"),
        Column("schema_id", "long", nullable=True),
        Column("key", "span"),
        Column("value", "span"),
        Column("reason", "span", bank=1),
        Column("stage", "span", bank=1),
        Column("detail", "span", bank=1),
        Column("headers", "span", bank=1),
    )
)


def _texts() -> tuple[bytes, dict[str, Longs]]:
    """All words in one text after an empty array's byte, and per column the (start, length) by reason."""
    text = bytearray(b"\0")
    where = {name: np.zeros((len(Reason), 2), np.int64) for name in ("reason", "stage", "detail")}
    for reason, (stage, detail) in WORDS.items():
        for name, word in (("reason", reason.label), ("stage", stage), ("detail", detail)):
            where[name][reason] = len(text), len(word)
            text += word.encode()
    return bytes(text), where


_TEXT, _WHERE = _texts()


class DeadLetters:
    """Writes the dead letters of one source partition."""

    def __init__(self, source: Source, partition: int, ids: SchemaIds) -> None:
        schema = schema_of(TOPIC)
        self._source, self._partition, self._ids = source, partition, ids
        columns: Columns = {
            "source": Constant(source.topic),
            "partition": Constant(partition),
            "last_offset": "offset",
            "raw_batch": Constant(None),
        }
        self._encoder = Encoder(schema, ids.id_of(TOPIC), _LETTER, columns)
        self._headers = fastavro.parse_schema(
            next(part["type"] for part in schema["fields"] if part["name"] == "headers")
        )

    def write(self, out: Outbox, done: Decoded, moments: Longs) -> None:
        """Append a letter per refused record and record batch, in the order of offsets. Their time is of `moments`,
        shape (n + 1,): the latest known before each record and after the last, in ms.
        """
        batch = done.batch
        refused = np.flatnonzero(done.error != Reason.OK)
        begin = 0
        for whole in batch.refused:
            end = int(np.searchsorted(batch.off[refused], whole.first))
            self._records(out, done, refused[begin:end], moments)
            self._batch(out, whole, int(moments[np.searchsorted(batch.off, whole.first)]))
            begin = end
        self._records(out, done, refused[begin:], moments)

    def _records(self, out: Outbox, done: Decoded, refused: Longs, moments: Longs) -> None:
        if not len(refused):
            return
        batch, error = done.batch, done.error[refused]
        letters = _LETTER.frame(len(refused), batch.buf)
        letters["offset"][:] = batch.off[refused]
        letters["timestamp"][:] = batch.ts[refused]
        letters["schema_id"][:] = done.schema_ids[refused]
        letters.second("schema_id")[:] = done.schema_ids[refused] >= 0
        letters["key"][:], letters.second("key")[:] = batch.ks[refused], batch.kl[refused]
        letters["value"][:], letters.second("value")[:] = batch.vs[refused], batch.vl[refused]
        for name, where in _WHERE.items():
            letters[name][:], letters.second(name)[:] = where[error].T
        letters.aux = self._with_headers(batch, refused, letters["headers"], letters.second("headers"))
        key = (letters["key"], letters.second("key"), letters.buf)
        out.append(TOPIC, self._encoder, letters, np.arange(len(refused)), moments[refused + 1], key)

    def _with_headers(self, batch: ColumnBatch, refused: Longs, starts: Longs, lengths: Longs) -> Any:
        """The words, then the headers of the records that have any, as Avro writes them."""
        starts[:], lengths[:] = 0, 1
        aux = bytearray(_TEXT)
        for j in np.flatnonzero(batch.hl[refused] > NO_HEADERS):
            i = int(refused[j])
            pairs = headers_of(batch, i)
            value = io.BytesIO()
            fastavro.schemaless_writer(value, self._headers, [{"key": name, "value": held} for name, held in pairs])
            starts[j], lengths[j] = len(aux), value.tell()
            aux += value.getvalue()
        return np.frombuffer(bytes(aux), np.uint8)

    def _batch(self, out: Outbox, whole: RefusedBatch, moment: int) -> None:
        stage, detail = WORDS[Reason[whole.reason.upper()]]
        letter = {
            "source": self._source.topic,
            "partition": self._partition,
            "offset": whole.first,
            "last_offset": whole.last,
            "timestamp": whole.timestamp,
            "reason": whole.reason,
            "stage": stage,
            "detail": detail,
            "schema_id": None,
            "key": None,
            "value": None,
            "headers": [],
            "raw_batch": whole.raw,
        }
        out.add(TOPIC, None, encode(TOPIC, letter, self._ids), moment)
