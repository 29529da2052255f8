#!/bin/bash
# Makes this container a bastion in front of COUNT hosts: each is an sshd in a network namespace of its own, with its
# own hostname and machine-id, on 10.0.1.1 and up. They share the disk, and nothing leaves the container.
# The public addresses, 198.51.100.1 and up, lead nowhere: what is sent there is dropped, as a closed port does.
set -eu
count=$1
router=169.254.0.1

mkdir -p -m 0700 ~/.ssh
mkdir -p /run/sshd /run/bench
rm -f /etc/ssh/ssh_host_*
ssh-keygen -q -t ecdsa -N '' -f /etc/ssh/ssh_host_ecdsa_key
ssh-keygen -q -t ecdsa -N '' -f ~/.ssh/id_ecdsa
cp ~/.ssh/id_ecdsa.pub ~/.ssh/authorized_keys
echo "* $(cut -d ' ' -f 1,2 /etc/ssh/ssh_host_ecdsa_key.pub)" >/etc/ssh/ssh_known_hosts

echo 1 >/proc/sys/net/ipv4/ip_forward
iptables -A FORWARD -d 198.51.100.0/24 -j DROP

# A route to each host, not a bridge: 64 neighbours in each of 64 namespaces are more than the kernel's table holds.
for number in $(seq "$count"); do
  name=host-$number
  ip netns add "$name"
  ip link add "to-$number" mtu 1450 type veth peer name enp7s0 mtu 1450 netns "$name"
  ip -batch - <<END
link set to-$number up
address add $router/32 dev to-$number
route add 10.0.1.$number/32 dev to-$number
END
  ip -n "$name" -batch - <<END
link set lo up
link set enp7s0 up
address add 10.0.1.$number/32 dev enp7s0
route add default via $router dev enp7s0 onlink
END
  tr -d - </proc/sys/kernel/random/uuid >"/run/bench/machine-id-$number"
  ip netns exec "$name" unshare --uts --mount bash -c "
    hostname $name
    mount --bind /run/bench/machine-id-$number /etc/machine-id
    exec /usr/sbin/sshd -D" &
done

for number in $(seq "$count"); do
  until (exec 3<>"/dev/tcp/10.0.1.$number/22") 2>/dev/null; do sleep 0.1; done
done
touch /run/bench/ready
wait
