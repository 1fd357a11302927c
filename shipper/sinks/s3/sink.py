"""The driver: puts each object of a batch, and takes the batch as delivered when all are there.

Rules

- All or nothing: when one object of a batch fails, all are put again. They overwrite themselves, and the
  spool's place never stands in the middle of an object.
- S3 refuses no single event: nothing is rejected. What the server minds is retried, or paused until a human
  has mended it; a body that is too large is halved.
- The body's SHA-256 is part of the signature: what was damaged on its way is not stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ...aws import AwsClient, Failure, common_verdict
from ...core.identified import ID_BYTES
from ...core.template import Template
from ...model import Batch, Delivered, Limits, Retry, Split, Verdict
from ...ports import SetupStep, SinkContext
from ...turns import Turns
from .config import S3Config
from .objects import Archive, Compression, Piece

if TYPE_CHECKING:
    from .parquet import ParquetMaker

__all__ = ["S3Sink"]

_TYPES: Final = {
    "gzip": "application/gzip",
    "zstd": "application/zstd",
    "none": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
_CHECK_KEY: Final = "logferry-check"


class S3Sink:
    """Writes batches as objects of one bucket."""

    def __init__(self, config: S3Config, context: SinkContext) -> None:
        self._config = config
        self._name = context.name
        self._turns = Turns()
        self._kind: Compression = "parquet" if config.format == "parquet" else config.compression
        self._archive = Archive(Template.parse(config.key), self._kind)
        self._declared = context.schema.declared
        self._parquet: ParquetMaker | None = None
        options = {
            "request_checksum_calculation": "when_required",  # others than AWS know no newer one
            "s3": {
                "payload_signing_enabled": True,
                "addressing_style": "path" if config.path_style else "auto",
            },
        }
        self._client = AwsClient("s3", config.access(), options)

    @property
    def limits(self) -> Limits:
        """What one batch may hold."""
        config = self._config
        most = config.max_batch_bytes
        return Limits(config.max_batch_events, most, most, config.max_batch_age, ID_BYTES)

    def send(self, batch: Batch) -> Verdict:
        """Put the batch's objects."""
        for piece in self._archive.pieces(batch) if batch.lines else ():
            try:
                content = self._content(batch, piece)
            except OSError as error:  # the scratch directory
                return Retry(f"no Parquet file could be made: {error}", pause=True)
            wrong = self._put(piece.key, content, _TYPES[self._kind], len(piece.indexes))
            if wrong is not None:
                return _judge(wrong, len(batch))
        return Delivered()

    def check(self) -> Sequence[str]:
        """Put an empty object: nothing else tells that it is allowed."""
        wrong = self._client.reach() or self._put(_CHECK_KEY, b"", "text/plain", 0)
        return [] if wrong is None else [f"{self._name}: {_said(wrong)}"]

    def setup(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make the bucket when there is none."""
        bucket = {"Bucket": self._config.bucket}
        found = self._client.call("head_bucket", bucket)
        what = f"bucket {self._config.bucket}"
        if not isinstance(found, Failure):
            return [SetupStep(what, "none")]
        region = self._client.region
        place = {} if region in {"", "us-east-1"} else {"LocationConstraint": region}
        body = {**bucket, **({"CreateBucketConfiguration": place} if place else {})}
        if dry_run:
            return [SetupStep(what, "create", body)]
        if found.status != 404:
            return [SetupStep(what, "none", problem=_said(found))]
        made = self._client.call("create_bucket", body)
        return [SetupStep(what, "create", body, _said(made) if isinstance(made, Failure) else "")]

    def close(self) -> None:
        """Release the connection."""
        self._client.forget()

    def _content(self, batch: Batch, piece: Piece) -> bytes:
        if self._kind != "parquet":
            return self._archive.content(batch, piece, self._turns.rest)
        if self._parquet is None:
            from .parquet import ParquetMaker

            self._parquet = ParquetMaker(self._declared)
        return self._parquet.content(batch, piece, self._turns.rest)

    def _put(self, key: str, content: bytes, kind: str, events: int) -> Failure | None:
        config = self._config
        wanted: dict[str, Any] = {"Bucket": config.bucket, "Key": key, "Body": content, "ContentType": kind}
        wanted["Metadata"] = {"events": str(events)}
        if config.storage_class is not None:
            wanted["StorageClass"] = config.storage_class
        if config.server_side_encryption is not None:
            wanted["ServerSideEncryption"] = config.server_side_encryption
        if config.kms_key_id is not None:
            wanted["SSEKMSKeyId"] = config.kms_key_id
        answer = self._client.call("put_object", wanted)
        return answer if isinstance(answer, Failure) else None


def _judge(failure: Failure, events: int) -> Retry | Split:
    if (common := common_verdict(failure)) is not None:
        return common
    if (failure.code == "EntityTooLarge" or failure.status == 413) and events > 1:
        return Split(failure.text)
    return Retry(
        f"{_HINTS.get(failure.code, 'S3 refuses the object')} ({failure.text})", failure.after, pause=True
    )


_HINTS: Final = {
    "NoSuchBucket": "there is no such bucket: make it, or call logferry setup",
    "PermanentRedirect": "the bucket is in another region: set region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set region",
    "IllegalLocationConstraintException": "the bucket is in another region: set region",
}


def _said(failure: Failure) -> str:
    return _judge(failure, 1).reason
