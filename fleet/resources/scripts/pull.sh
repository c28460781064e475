# Pull an image by its digest from the first registry that gives it, and give it the name that our units use.
# Told: $local (that name), $digest, $found (a name for what was here before us), $need_kib (0: unknown), and the
# candidates ("registry/repository") as arguments.
# A login, where there is one, lies in $JOB/config.json, where only root can read it.
if [ -f "$JOB/config.json" ]; then DOCKER_CONFIG=$JOB; export DOCKER_CONFIG; fi
root=$(timeout 20 docker info --format '{{.DockerRootDir}}') || { echo "Docker doesn't answer" >&2; exit 1; }
free() { df -Pk "$root" | awk 'NR==2 {print $4}'; }

for name in "$@"; do
  if docker image inspect "$name@$digest" >/dev/null 2>&1; then
    # Without a name of ours somebody else brought it: it is marked, and no prune takes it from them.
    case " $(docker image inspect --format '{{range .RepoTags}}{{.}} {{end}}' "$name@$digest")" in
      *" fleet.local/"*) ;; *) docker tag "$name@$digest" "$found";; esac
    docker tag "$name@$digest" "$local"; echo "it is here already, as $name@$digest"; exit 0
  fi
done
if [ "$need_kib" -gt 0 ] && [ "$(free)" -lt "$need_kib" ]; then
  echo "no space left on device: the image needs $((need_kib / 1048576 + 1)) GiB under $root," \
    "free are $(($(free) / 1048576)) GiB" >&2
  exit 1
fi

pull() { # $1: where from. Ended when for $patience seconds neither a line nor a byte came.
  before=$(free); quiet=0; last=; : > pulled
  timeout 4h docker pull "$1@$digest" > pulled 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 2
    all=$(grep -c -E ': (Pulling fs layer|Already exists)$' pulled) || true
    done_=$(grep -c -E ': (Pull complete|Already exists)$' pulled) || true
    written=$(( (before - $(free)) / 1024 )); [ "$written" -ge 0 ] || written=0
    echo "progress: $((all > 0 ? 100 * done_ / all : 0))% $done_ of $all layers, $written MiB on disk"
    if [ "$done_ $written" = "$last" ]; then quiet=$((quiet + 2)); else quiet=0; last="$done_ $written"; fi
    if [ "$quiet" -ge "${patience:-600}" ]; then
      echo "nothing came from $1 for ${patience:-600} s" >&2; kill "$pid"; wait "$pid"; return 1
    fi
  done
  wait "$pid"
}

round=1
while [ "$round" -le 3 ]; do
  for name in "$@"; do
    echo "pulling $name@$digest"
    if pull "$name" && docker tag "$name@$digest" "$local"; then exit 0; fi
    echo "from $name: $(tail -n 2 pulled | tr '\n' ' ')" >&2
    if grep -qi 'no space left' pulled; then exit 1; fi
  done
  [ "$round" -eq 3 ] || sleep "${pause:-10}"
  round=$((round + 1))
done
exit 1
