#!/bin/bash
# Gives Kibana's own user the password from .env. Run once by the service kibana-setup; a second run changes nothing.
set -euo pipefail
body="{\"password\":\"$KIBANA_PASSWORD\"}"
for _ in $(seq 30); do
  # The password goes through standard input, not through the list of processes.
  if printf 'user = "elastic:%s"\ndata = "%s"\n' "$ELASTIC_PASSWORD" "${body//\"/\\\"}" |
    curl -fsS -K - -H 'Content-Type: application/json' \
      http://elasticsearch:9200/_security/user/kibana_system/_password >/dev/null; then
    exit 0
  fi
  sleep 2
done
echo "Elasticsearch did not take the password" >&2
exit 1
