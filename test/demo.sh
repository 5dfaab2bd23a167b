#!/usr/bin/env bash
# `make demo`: a cluster of three on this machine, used with the ordinary aws command, also with one node dead. Can be run
# again at any time; leaves the cluster running.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
hive=${HIVE:-bin/hive}
dir=${HIVE_DEV_DIR:-$HOME/.hive-dev}
export HIVE_DEV_DIR=$dir
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'echo; echo "The demo failed at the step above. To look: $hive dev status; $hive dev logs. To start afresh: $hive dev stop --delete" >&2' ERR

step=0
say() { step=$((step + 1)); printf '\n%d. %s\n' "$step" "$*"; }
run() { printf '   $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/     /'; }
same() { cmp "$1" "$2" && echo "     the same bytes, $(wc -c <"$1") of them"; }

# owed prints how many shards the cluster owes a node that was away, as node1 knows it.
owed() { "$hive" status --hive-dir "$dir/node1" --output json | sed -n 's/.*"owed_shards": *\([0-9]*\).*/\1/p' | head -n 1; }

say "Starting a cluster of three nodes: three processes, joined by the same init and join as three machines."
run "$hive" dev start --nodes 3

say "A bucket, made through node1 with the ordinary aws command."
if "$hive" aws --node node1 s3api head-bucket --bucket demo >/dev/null 2>&1; then
  echo "     the bucket is there from an earlier demo"
else
  run "$hive" aws --node node1 s3 mb s3://demo
fi

say "Storing a file through node1: Hive's own program. It becomes two data shards and one parity shard, one on each node."
run "$hive" aws --node node1 s3 cp --no-progress "$hive" s3://demo/hive

say "Reading it through node2, and comparing."
run "$hive" aws --node node2 s3 cp --no-progress s3://demo/hive "$scratch/from-node2"
same "$hive" "$scratch/from-node2"

say "Killing node3 as a power cut would."
run "$hive" dev kill node3

say "Reading goes on: what node3 held is computed from the other two."
run "$hive" aws --node node1 s3 cp --no-progress s3://demo/hive "$scratch/without-node3"
same "$hive" "$scratch/without-node3"

say "Writing goes on: what node3 misses is kept for it by the other two."
head -c 3000000 /dev/urandom >"$scratch/new"
run "$hive" aws --node node2 s3 cp --no-progress "$scratch/new" s3://demo/written-while-node3-was-dead
echo "     shards that are owed to node3: $(owed)"

say "Bringing node3 back."
run "$hive" dev start-node node3

say "The repair: what node3 missed is handed over without being asked."
for ((i = 0; ; i++)); do
  left=$(owed)
  echo "     shards still owed: $left"
  [ "$left" = 0 ] && break
  if ((i == 120)); then
    echo "     not repaired after two minutes" >&2
    false
  fi
  sleep 1
done

say "Reading the new object through node3, which was dead when it was written."
run "$hive" aws --node node3 s3 cp --no-progress s3://demo/written-while-node3-was-dead "$scratch/from-node3"
same "$scratch/new" "$scratch/from-node3"

say "A user with a key of their own, made through node1 and used through node2 at once."
user=demo-$RANDOM$RANDOM
run "$hive" aws --node node1 iam create-user --user-name "$user" --query User.Arn --output text
run "$hive" aws --node node1 iam attach-user-policy --user-name "$user" --policy-arn arn:aws:iam::aws:policy/AmazonS3FullAccess
read -r id secret < <("$hive" aws --node node1 iam create-access-key --user-name "$user" --query 'AccessKey.[AccessKeyId,SecretAccessKey]' --output text)
echo "     key $id"
( # the user's key in place of root's
  eval "$("$hive" dev env --node node2)"
  export AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret
  run aws --endpoint-url "$AWS_ENDPOINT_URL" sts get-caller-identity --query Arn --output text
  run aws --endpoint-url "$AWS_ENDPOINT_URL" s3 ls s3://demo
)

say "The cluster as it is now."
run "$hive" status --hive-dir "$dir/node1"

cat <<EOF

Done. The cluster keeps running.

  Use it:    eval "\$($hive dev env)"        then any AWS tool; or: $hive aws s3 ls
  Look:      $hive dev status               $hive dev logs node1
  Stop:      $hive dev stop                 ($hive dev start brings it back with its data)
  Remove:    $hive dev stop --delete
EOF
