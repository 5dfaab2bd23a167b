#!/usr/bin/env bash
# `make demo`: a cluster of three on this machine, used with the ordinary aws command, also with one node dead. Can be run
# again at any time; leaves the cluster running.
set -Eeuo pipefail
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

# Guests: real machines on node2. HIVE_DEMO_GUESTS=no leaves them out. What they need of this machine (root, taps, QEMU) the daemon knows.
reason=$("$hive" status --hive-dir "$dir/node1" --output json | sed -n 's/.*"network": *"\(.*\)".*/\1/p' | head -n 1)
command -v qemu-system-x86_64 >/dev/null || reason=${reason:-there is no qemu-system-x86_64}
command -v ssh >/dev/null || reason=${reason:-there is no ssh}

# login runs a command in the instance, by way of node1.
login() {
  ssh -F none -i "$scratch/key" -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR -o ConnectTimeout=20 \
    -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
    -o ProxyCommand="$hive instance connect %h --hive-dir $dir/node1" "root@$instance" "$@"
}

# inside shows a command in the instance with its output.
inside() {
  printf '   [%s] # %s\n' "$instance" "$*"
  login "$@" 2>&1 | sed 's/^/     /'
}

# ec2 answers one word of the EC2 API through node1, and shows what it asked.
ec2() {
  local query=$1
  shift
  printf '   $ %s aws --node node1 ec2 %s\n' "$hive" "$*" >&2
  "$hive" aws --node node1 ec2 "$@" --query "$query" --output text
}

guests() {
  local image ami key zone vpc volume snapshot find device pid boot of_image
  say "A disk image with a small Linux, made of the distribution's packages, becomes an image of the cluster."
  image=${HIVE_GUEST_IMAGE:-$(go run -buildvcs=false ./test/guest/mkguest tiny)}
  run "$hive" image import "$image" --name "$user" --boot-mode uefi --hive-dir "$dir/node1"
  ami=$(ec2 'Images[0].ImageId' describe-images --filters "Name=name,Values=$user")

  say "A key pair, made by the cluster, and an instance on node2, asked for through node1."
  key=$user
  (umask 077 && ec2 KeyMaterial create-key-pair --key-name "$key" --key-type ed25519 >"$scratch/key")
  printf '#!/bin/sh\necho "user-data was here" >/root/mark\n' >"$scratch/user-data"
  zone=$(ec2 'AvailabilityZones[1].ZoneName' describe-availability-zones) # each node is in a zone of its own
  instance=$(ec2 'Instances[0].InstanceId' run-instances --image-id "$ami" --instance-type t2.nano --key-name "$key" \
    --user-data "file://$scratch/user-data" --placement "AvailabilityZone=$zone")
  run "$hive" aws --node node3 ec2 wait instance-running --instance-ids "$instance"
  run "$hive" instance list --hive-dir "$dir/node3"
  vpc=$("$hive" aws --node node2 ec2 describe-instances --instance-ids "$instance" --query 'Reservations[0].Instances[0].VpcId' --output text)

  say "Logging in by SSH, through node1 to the guest on node2."
  await 240 "the guest lets us in" login true
  await 60 "user-data has run" login test -s /root/mark
  inside 'cat /root/mark; hostname; uname -sr'

  say "A second volume, attached while the guest runs, and written."
  volume=$(ec2 VolumeId create-volume --size 1 --availability-zone "$zone")
  run "$hive" aws --node node1 ec2 wait volume-available --volume-ids "$volume"
  ec2 State attach-volume --volume-id "$volume" --instance-id "$instance" --device /dev/sdf | sed 's/^/     /'
  find="for s in /sys/block/vd*/serial; do [ \"\$(cat \$s)\" = ${volume/-/} ] && d=\${s%/serial} && echo /dev/\${d##*/} && exit; done; exit 1"
  await 60 "the guest sees the volume" login "$find"
  device=$(login "$find")
  inside "mke2fs $device 2>/dev/null >&2; mount $device /mnt; echo 'hello, volume' >/mnt/hello; sync; df -h /mnt | tail -n 1"

  say "A snapshot of it, while it is in use."
  snapshot=$(ec2 SnapshotId create-snapshot --volume-id "$volume")
  run "$hive" aws --node node2 ec2 wait snapshot-completed --snapshot-ids "$snapshot"

  say "Killing the daemon of node2 under the guest, which counts the seconds into a file on its disk."
  login "echo 'while echo tick >>/root/ticks && sync; do sleep 1; done; echo failed >>/root/ticks' >/root/count; setsid sh /root/count >/dev/null 2>&1 </dev/null &"
  boot=$(login cat /proc/sys/kernel/random/boot_id)
  pid=$(guest_processes)
  run "$hive" dev kill node2
  echo "     the guest's process is there: $(guest_processes)"
  run "$hive" dev start-node node2
  await 120 "the guest lets us in again" login true
  [ "$pid" = "$(guest_processes)" ]
  [ "$boot" = "$(login cat /proc/sys/kernel/random/boot_id)" ]
  await 60 "the guest has counted on" login '[ "$(grep -c tick /root/ticks)" -ge 10 ]'
  inside 'echo "$(grep -c tick /root/ticks) seconds counted, $(grep -c failed /root/ticks) failures"; uptime; cat /mnt/hello'

  say "The end of the instance, and of all that was made for it."
  ec2 'TerminatingInstances[0].CurrentState.Name' terminate-instances --instance-ids "$instance" | sed 's/^/     /'
  run "$hive" aws --node node1 ec2 wait instance-terminated --instance-ids "$instance"
  run "$hive" aws --node node2 ec2 wait volume-available --volume-ids "$volume"
  run "$hive" aws --node node2 ec2 delete-volume --volume-id "$volume"
  run "$hive" aws --node node2 ec2 delete-snapshot --snapshot-id "$snapshot"
  of_image=$(ec2 'Images[0].BlockDeviceMappings[0].Ebs.SnapshotId' describe-images --image-ids "$ami")
  run "$hive" aws --node node3 ec2 deregister-image --image-id "$ami"
  run "$hive" aws --node node3 ec2 delete-snapshot --snapshot-id "$of_image"
  run "$hive" aws --node node3 ec2 delete-key-pair --key-name "$key"

  say "Nothing is left of it on this machine."
  await 60 "its network is gone" no_network "$vpc"
  echo "     processes of guests: $(guest_processes | wc -w)"
  run "$hive" aws --node node1 ec2 describe-volumes --query 'Volumes[].VolumeId' --output text
  [ -z "$(guest_processes)" ]
}

# await SECONDS WHAT COMMAND...: until COMMAND succeeds
await() {
  local limit=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  echo "     waiting until $what"
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      echo "     that is not so after $limit seconds" >&2
      return 1
    fi
    sleep 1
  done
}

no_network() { ! ls /run/netns 2>/dev/null | grep -q -- "-$1\$"; }

# guest_processes are the ids of the cluster's guests.
guest_processes() { pgrep -f "qemu-system-[^ ]* .*$dir/" | tr '\n' ' ' || true; }

if [ "${HIVE_DEMO_GUESTS:-yes}" = no ]; then
  printf '\nNOT SHOWN: instances, volumes and snapshots, as HIVE_DEMO_GUESTS=no asks.\n'
elif [ -n "$reason" ]; then
  printf '\nNOT SHOWN: instances, volumes and snapshots. They need root here: %s\n' "$reason"
else
  guests
fi

say "The cluster as it is now."
run "$hive" status --hive-dir "$dir/node1"

cat <<EOF

Done. The cluster keeps running.

  Use it:    eval "\$($hive dev env)"        then any AWS tool; or: $hive aws s3 ls
  Look:      $hive dev status               $hive dev logs node1
  Stop:      $hive dev stop                 ($hive dev start brings it back with its data)
  Remove:    $hive dev stop --delete
EOF
