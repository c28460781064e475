# Build an image out of the files in $JOB (Dockerfile, requirements.txt, ca.pem), named $local.
# Told: $local, and build arguments (proxies) as arguments. The context is sent as a tar, without the job's own files.
mkdir -p context
cp Dockerfile requirements.txt ca.pem context/
: > built
timeout 2h docker build --network host --force-rm --tag "$local" "$@" context > built 2>&1 &
pid=$!; tick=0
while kill -0 "$pid" 2>/dev/null; do
  sleep 2; tick=$((tick + 2))
  echo "progress: building for $tick s: $(tail -n 1 built | tr -d '\r' | cut -c1-80)"
done
wait "$pid" && exit 0
tail -n 25 built >&2
exit 1
