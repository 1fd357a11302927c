"""Write Grafana's provisioning and dashboards from the panels' one definition (shipper/panels).

python deploy/grafana/generate.py            # writes what is different
python deploy/grafana/generate.py --check    # says what is different, and exits with 1
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

from logferry.shipper.panels.grafana import alert_rules, dashboards, datasources

HERE = Path(__file__).parent
_NOTE = "# Made by deploy/grafana/generate.py.\n"
_PROVIDER = {
    "apiVersion": 1,
    "providers": [
        {
            "name": "logferry",
            "folder": "logferry",
            "type": "file",
            "allowUiUpdates": False,
            "options": {"path": "/var/lib/grafana/dashboards"},
        }
    ],
}


def files() -> dict[Path, str]:
    """Return the content of every file."""
    made = {
        HERE / "dashboards" / path: json.dumps(board, indent=1, sort_keys=True) + "\n"
        for path, board in dashboards().items()
    }
    for path, content in (
        ("datasources/logferry.yaml", datasources()),
        ("dashboards/logferry.yaml", _PROVIDER),
        ("alerting/logferry.yaml", alert_rules()),
    ):
        text = yaml.safe_dump(content, sort_keys=False, width=110)
        made[HERE / "provisioning" / path] = _NOTE + text
    return made


def main() -> int:
    """Write or check."""
    different = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    there = {*HERE.glob("dashboards/**/*.json"), *HERE.glob("provisioning/**/*.yaml")}
    stale = sorted(there - files().keys())
    if "--check" in sys.argv[1:]:
        for path in [*different, *stale]:
            print(f"{path.relative_to(HERE)}: not as the panels say; run python deploy/grafana/generate.py")
        return 1 if different or stale else 0
    for path in different:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files()[path])
        print(path.relative_to(HERE))
    for path in stale:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
