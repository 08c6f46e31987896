# What the runbooks' words mean where the product runs under Docker Compose (docker/compose.yaml).
#   . runbooks/platform/compose.sh
COMPOSE="${COMPOSE:-docker compose -f docker/compose.yaml}"

worker_start() { $COMPOSE up -d --no-recreate "$1"; }
worker_stop() { $COMPOSE stop "$1"; }
broker_start() { $COMPOSE up -d --no-recreate "$1"; }
source_start() { echo "start source $1 where its owner runs it" >&2; return 1; }
source_stop() { echo "stop source $1 where its owner runs it" >&2; return 1; }
source_snapshot() { echo "have source $1 take a snapshot where its owner runs it" >&2; return 1; }
store_grow() { echo "grow the volume of $1 where the host's disks are managed" >&2; return 1; }
release_use() { ATP_VERSION="$1" $COMPOSE up -d; }
