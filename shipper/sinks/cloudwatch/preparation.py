"""Group and streams, when they are missing under load, and all that `logferry setup` makes.

- A stream is made first, the group only when CloudWatch says that there is none: most are not allowed to make
  groups, and need not.
- Who made it meanwhile does not matter: "already exists" is as good.
- Retention and tags are set when the group is made here, and by `setup`; never changed behind anybody's back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from ....handlers.schema import Schema
from ...aws import AwsClient, Failure, common_verdict
from ...ports import SetupStep
from .config import CloudWatchConfig
from .queries import PREFIX, metric_filters, saved_queries

__all__ = ["Preparation"]

_LOG: Final = logging.getLogger("logferry.sinks.cloudwatch")
_EXISTS: Final = "ResourceAlreadyExistsException"
_MISSING: Final = "ResourceNotFoundException"
Action = Literal["create", "change", "none"]


class Preparation:
    """Makes what the sink needs. Called by the thread that sends."""

    def __init__(self, client: AwsClient, config: CloudWatchConfig, schema: Schema) -> None:
        self._client = client
        self._config = config
        self._schema = schema
        self._group = {"logGroupName": config.log_group}

    def stream(self, name: str) -> Failure | None:
        """Make the stream, and the group if there is none; return what went wrong."""
        wanted = {**self._group, "logStreamName": name}
        wrong = self._make("create_log_stream", wanted)
        if wrong is None or wrong.code != _MISSING:
            return wrong
        return self._make_group() or self._make("create_log_stream", wanted)

    def steps(self, *, dry_run: bool) -> Sequence[SetupStep]:
        """Make, or with `dry_run` tell, all that is missing or differs."""
        steps: list[SetupStep] = []
        for step, operation, arguments in self._wanted():
            told = step
            if not dry_run and not step.problem and step.action != "none":
                answer = self._client.call(operation, arguments)
                if isinstance(answer, Failure) and answer.code != _EXISTS:
                    told = SetupStep(step.what, step.action, step.body, _said(answer))
            steps.append(told)
            if told.problem and not dry_run:
                break
        return steps

    def _make(self, operation: str, arguments: Mapping[str, Any]) -> Failure | None:
        answer = self._client.call(operation, arguments)
        return answer if isinstance(answer, Failure) and answer.code != _EXISTS else None

    def _make_group(self) -> Failure | None:
        config = self._config
        tags = {"tags": dict(config.tags)} if config.tags else {}
        if (wrong := self._make("create_log_group", {**self._group, **tags})) is not None:
            return wrong
        if config.retention_days is not None:
            wrong = self._make(
                "put_retention_policy", {**self._group, "retentionInDays": config.retention_days}
            )
            if wrong is not None:  # events are more important; `logferry setup` says it again
                _LOG.warning("log group %s was made without its retention: %s", config.log_group, wrong.text)
        return None

    # ── setup ──

    def _wanted(self) -> Iterator[tuple[SetupStep, str, Mapping[str, Any]]]:
        """Yield each step with the call that makes it true; asks the server, and forgives when it cannot."""
        config = self._config
        found = self._client.call("describe_log_groups", {"logGroupNamePrefix": config.log_group})
        there = None
        if not isinstance(found, Failure):
            groups = found.get("logGroups", ())
            there = next((group for group in groups if group.get("logGroupName") == config.log_group), None)
        tags = dict(config.tags)
        body = {**self._group, **({"tags": tags} if tags else {})}
        yield SetupStep(f"log group {config.log_group}", _action(there), body), "create_log_group", body
        if config.retention_days is not None:
            days = None if there is None else there.get("retentionInDays")
            keep = {**self._group, "retentionInDays": config.retention_days}
            action: Action = (
                "none" if days == config.retention_days else "create" if days is None else "change"
            )
            yield (
                SetupStep(f"retention of {config.retention_days} days", action, keep),
                "put_retention_policy",
                keep,
            )
        if there is not None and tags:
            yield self._tags(str(there.get("arn", "")).removesuffix(":*"), tags)
        yield from self._filters(asked=there is not None)
        yield from self._queries()

    def _tags(self, arn: str, tags: Mapping[str, str]) -> tuple[SetupStep, str, Mapping[str, Any]]:
        answer = self._client.call("list_tags_for_resource", {"resourceArn": arn})
        known = {} if isinstance(answer, Failure) else answer.get("tags", {})
        action: Action = "none" if all(known.get(key) == tags[key] for key in tags) else "change"
        body = {"resourceArn": arn, "tags": dict(tags)}
        return SetupStep(f"tags {', '.join(tags)}", action, body), "tag_resource", body

    def _filters(self, *, asked: bool) -> Iterator[tuple[SetupStep, str, Mapping[str, Any]]]:
        if self._config.metrics_namespace is None:
            return
        known: dict[str, Any] = {}
        if asked:
            answer = self._client.call(
                "describe_metric_filters", {**self._group, "filterNamePrefix": f"{PREFIX}-"}
            )
            if not isinstance(answer, Failure):
                known = {row.get("filterName"): row for row in answer.get("metricFilters", ())}
        for wanted in metric_filters(self._config.log_group, self._config.metrics_namespace):
            there = known.get(wanted["filterName"])
            same = there is not None and all(there.get(key) == value for key, value in wanted.items())
            step = SetupStep(f"metric filter {wanted['filterName']}", _action(there, same=same), wanted)
            yield step, "put_metric_filter", wanted

    def _queries(self) -> Iterator[tuple[SetupStep, str, Mapping[str, Any]]]:
        if not self._config.saved_queries:
            return
        wanted = saved_queries(self._config.log_group, self._schema)
        prefix = next(iter(wanted)).rpartition("/")[0]
        answer = self._client.call("describe_query_definitions", {"queryDefinitionNamePrefix": prefix})
        rows = () if isinstance(answer, Failure) else answer.get("queryDefinitions", ())
        known = {row.get("name"): row for row in rows}
        for name, query in wanted.items():
            there = known.get(name)
            groups = [self._config.log_group]
            same = there is not None and (there.get("queryString"), there.get("logGroupNames")) == (
                query,
                groups,
            )
            body = {"name": name, "queryString": query, "logGroupNames": groups}
            own = {"queryDefinitionId": there["queryDefinitionId"]} if there is not None else {}
            yield (
                SetupStep(f"query {name}", _action(there, same=same), body),
                "put_query_definition",
                {**body, **own},
            )


def _action(there: object, *, same: bool = True) -> Action:
    if there is None:
        return "create"
    return "none" if same else "change"


def _said(failure: Failure) -> str:
    verdict = common_verdict(failure)
    return failure.text if verdict is None else verdict.reason
