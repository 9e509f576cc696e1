#!/bin/sh
# Publishes events of agents, lines of JSON on standard input, through the gateway, and prints where Kafka has each.
#
#     export KEY=$(cognistream keys create acme --verb publish --json | jq -r .key)
#     echo '{"agent_id": "planner-1", "event_type": "execution_completed"}' | sh publish.sh
set -eu

hex() { od -An -v -tx1 -N "$1" /dev/urandom | tr -d ' \n'; }

# A service that is traced passes on the `traceparent` of its request.
curl --silent --show-error --fail-with-body "${GATEWAY:-http://127.0.0.1:8464}/v1/events" \
    --header "Authorization: Bearer $KEY" \
    --header "Content-Type: application/x-ndjson" \
    --header "traceparent: 00-$(hex 16)-$(hex 8)-01" \
    --data-binary @-
