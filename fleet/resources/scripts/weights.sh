# Run weights.py in the image's python3, over the model's directory.
# Told: $dir, $image, $tools (a directory of python packages), $name (the container's). In $JOB: weights.py, spec.json,
# env (proxies and the hub's token, for root only), ca.pem.
umask 022
mkdir -p "$dir"
exec 9> "$dir/.lock"
if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
  echo "progress: waiting for other work on $dir"; flock 9
fi
docker rm --force "$name" >/dev/null 2>&1 || true # of an earlier try that was killed
mkdir -p "$tools"
exec docker run --rm --init --pull never --name "$name" --label fleet.work=weights --network host --user 0:0 \
  --security-opt label=disable --env-file env --env PYTHONPATH=/tools --env PYTHONUNBUFFERED=1 \
  --volume "$JOB:/job:ro" --volume "$tools:/tools:ro" --volume "$dir:/models" \
  --entrypoint python3 "$image" /job/weights.py /models /job/spec.json
