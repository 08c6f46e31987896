# What the runbooks' words mean where the product runs on Kubernetes (docker/k8s/).
#   . runbooks/platform/kubernetes.sh
KUBECTL="${KUBECTL:-kubectl -n atp}"

worker_start() { $KUBECTL wait --for=condition=Ready --timeout=10m "pod/$1"; } # the StatefulSet starts it by itself
worker_stop() { $KUBECTL delete pod "$1"; }
broker_start() { $KUBECTL wait --for=condition=Ready --timeout=10m "pod/$1"; }
source_start() { echo "start source $1 where its owner runs it" >&2; return 1; }
source_stop() { echo "stop source $1 where its owner runs it" >&2; return 1; }
source_snapshot() { echo "have source $1 take a snapshot where its owner runs it" >&2; return 1; }
store_grow() { $KUBECTL patch pvc "store-$1" -p '{"spec":{"resources":{"requests":{"storage":"'"${STORE_SIZE:-40Gi}"'"}}}}'; }
release_use() { $KUBECTL set image statefulset/atp-worker worker="atp:$1"; }
