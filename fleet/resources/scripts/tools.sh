# Install python packages, pinned by hash, for the image's python3, by its own pip, into a directory beside the image.
# Told: $root, $key (the directory's name: a hash of what it holds), $image. In $JOB: requirements.txt, env, ca.pem.
umask 022
mkdir -p "$root"
rm -rf "$root/$key.new"; mkdir "$root/$key.new"
docker rm --force "fleet-tools-$key" >/dev/null 2>&1 || true # of an earlier try that was killed
echo 'progress: installing the tools'
docker run --rm --init --pull never --name "fleet-tools-$key" --label fleet.work=tools --network host --user 0:0 \
  --security-opt label=disable --env-file env --volume "$JOB:/job:ro" --volume "$root/$key.new:/tools" \
  --entrypoint sh "$image" -c '
    if [ -s /job/ca.pem ]; then
      python3 -c "import ssl; p = ssl.get_default_verify_paths(); print(open(p.cafile).read() if p.cafile else \"\")" \
        > /tmp/ca.pem
      cat /job/ca.pem >> /tmp/ca.pem; export PIP_CERT=/tmp/ca.pem
    fi
    exec python3 -m pip install --require-hashes --no-deps --only-binary :all: --no-cache-dir --no-input \
      --disable-pip-version-check --progress-bar off --timeout 30 --retries 5 --target /tools -r /job/requirements.txt'
touch "$root/$key.new/.complete"
sync
rm -rf "${root:?}/$key"
mv "$root/$key.new" "$root/$key"
for old in "$root"/*; do [ "$old" = "$root/$key" ] || rm -rf "$old"; done
