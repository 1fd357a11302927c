"""What a user may write about the `file` source."""

# ruff: noqa: RUF009 - `setting` makes a dataclass field, as `dataclasses.field` does

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config.fields import Duration, Size, setting
from .parsers import (
    MULTILINE_HELP,
    PARSER_HELP,
    MultilineConfig,
    MultilineName,
    ParserConfig,
    ParserName,
    checked,
)

__all__ = ["FileConfig"]


@dataclass(frozen=True, slots=True)
class FileConfig:
    """Which files, and how their lines are read."""

    include: tuple[Path, ...] = setting(
        help="files to read; `*`, `?`, `[]`, `**` work", example="[/var/log/app/*.log]"
    )
    exclude: tuple[str, ...] = setting((), help="patterns of paths or names to leave out", example="['*.gz']")
    parser: ParserName | ParserConfig = setting("auto", help=PARSER_HELP)
    multiline: MultilineName | MultilineConfig | None = setting("auto", help=MULTILINE_HELP)
    max_line_bytes: Size = setting(Size(256 << 10), help="longer lines are cut and marked", minimum=64)
    encoding: Literal["utf-8", "utf-16", "latin-1"] = setting(
        "utf-8", help="how the files are written; a byte order mark of UTF-16 counts whatever stands here"
    )
    start_at: Literal["beginning", "end"] = setting(
        "beginning",
        help="end: of files that are there at the first start only what is written later (when following)",
    )
    ignore_older: Duration | None = setting(
        None, help="of files that are new to it and were written longer ago only what is written later"
    )
    watch: Literal["auto", "poll"] = setting(
        "auto", help="auto: inotify on local file systems (extra `files`); poll: look again and again"
    )
    poll_interval: Duration = setting(
        Duration(0.25),
        help="how often files that grow are looked at; without inotify quiet ones too, once a second",
        minimum=0.01,
    )
    scan_interval: Duration = setting(
        Duration(2.0), help="how often new files are looked for where there is no inotify", minimum=0.01
    )
    close_after: Duration = setting(Duration(5.0), help="how long a rotated file may still grow", minimum=0)
    max_open_files: int = setting(256, help="descriptors; of more files the quiet ones are closed", minimum=4)

    def __post_init__(self) -> None:
        if not self.include:
            raise ValueError("include is empty; name at least one file or pattern")
        checked(self.parser)
