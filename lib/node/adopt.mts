import type { Host } from '../input/inventory.mts'
import type { Settings } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import type { NodeStep } from '../run/step.mts'
import { unitOf } from './k3s.mts'

const folder = '/etc/rancher/k3s'
const data = '/var/lib/rancher/k3s'

// Shell functions for a node that may have a K3s of somebody else. `told KEY` prints what K3s was told: in its unit's
// command line, else in its files. K3s takes them in this order (pkg/configfilearg).
const told = (unit: string): string => `words_of_unit() { { systemctl cat ${unit}.service 2>/dev/null || true; } | { grep -v '^#' || true; } | tr -d "\\"'\\\\\\\\" | tr -s ' \\t=' '\\n'; }
told() {
  { sed -nE "s/^[\\"']?$1[\\"']? *: *[\\"']?([^\\"'# ]+).*/\\1/p" ${folder}/config.yaml ${folder}/config.yaml.d/*.yaml 2>/dev/null || true
    words_of_unit | awk -v flag="--$1" '$0 == flag { getline; print (/^-/ || !NF) ? "true" : $0 }'
  } | tail -n 1
}
told_env() {
  { cat /etc/systemd/system/${unit}.service.env /etc/default/${unit} /etc/sysconfig/${unit} 2>/dev/null || true; } |
    { grep -E "^(export )?$1=" || true; } | tail -n 1 | cut -d= -f2- | tr -d "\\"'"
  words_of_unit | awk -v name="$1" '$0 == name { getline; print }'
}
ours() { grep -qs '^# Written by KeyBuzz' ${folder}/config.yaml /etc/systemd/system/${unit}.service; }`

// The peer addresses of a member. K3s writes the file at each start (pkg/etcd/etcd.go); it also listens on loopback.
const peers = `{ sed -n 's/^listen-peer-urls: *//p' ${data}/server/db/etcd/config 2>/dev/null || true; } | { grep -oE '//[0-9.]+' || true; } | tr -d / | { grep -v '^127\\.' || true; }`

// What the servers of a cluster must have in common, or what cannot be changed later: our value, and K3s's own default
// (K3s: pkg/daemons/config, CriticalControlArgs; docs: cli/secrets-encrypt). Networks have a step of their own.
const fixed = `flannel-backend vxlan vxlan
egress-selector-mode agent agent
secrets-encryption true false
disable-cloud-controller false false
disable-helm-controller false false
disable-kube-proxy false false
disable-network-policy false false
embedded-registry false false`

const onServer = ({ address }: Host): string => `if [[ $(systemctl is-enabled k3s-agent 2>/dev/null || true) == enabled ]]; then
  echo 'is a worker (k3s-agent), and servers.tsv says master'
fi
if [[ ! -d ${data}/server/db/etcd/member/wal ]]; then
  endpoint=$(told datastore-endpoint); endpoint=\${endpoint:-$(told_env K3S_DATASTORE_ENDPOINT)}
  # The rest of an endpoint may hold a password.
  if [[ -n $endpoint ]]; then echo "K3s keeps its data in an external datastore (\${endpoint%%:*}), not in embedded etcd"
  elif [[ -f ${data}/server/db/state.db ]]; then echo 'K3s keeps its data in SQLite (${data}/server/db/state.db), not in embedded etcd'; fi
  exit
fi
peers=$(${peers})
if [[ -n $peers ]] && ! grep -qxF '${address}' <<<"$peers"; then
  echo "its etcd member is on \${peers//$'\\n'/, }, and IP_PRIVEE is ${address}"
fi
if ours; then exit; fi
while read -r key ours default; do
  is=$(told "$key"); is=\${is:-$default}
  [[ $is == "$ours" ]] || echo "$key is $is in the cluster, expected $ours"
done <<'END'
${fixed}
END`

const onWorker = (servers: Host[], settings: Settings): string => {
  const { api } = settings.load_balancers
  const known = [api.address, ...api.names, ...servers.flatMap(({ name, address, publicAddress, fqdn }) => [name, address, publicAddress, fqdn])]
  return `if [[ $(systemctl is-enabled k3s 2>/dev/null || true) == enabled || -d ${data}/server/db/etcd/member/wal || -f ${data}/server/db/state.db ]]; then
  echo 'is a server of a cluster (k3s), and servers.tsv does not say master'
fi
if ours || [[ $(systemctl is-active k3s-agent 2>/dev/null || true) != active ]]; then exit; fi
server=$(told server); server=\${server:-$(told_env K3S_URL)}; server=\${server#*://}; server=\${server%%[:/]*}
if [[ -n $server ]] && ! grep -qxF "$server" <<'END'
${known.filter((one) => one !== '').join('\n')}
END
then
  echo "is a worker of another cluster, at $server"
fi`
}

/**
 * The step that a node is bare, or has a K3s that the scripts can take over: with embedded etcd on IP_PRIVEE, in the same
 * role, and with values that need not change. Elsewhere nothing may be changed.
 */
export const canBeTakenOver = (host: Host, { servers, settings }: Pick<Run, 'servers' | 'settings'>): NodeStep => {
  const unit = unitOf(host)
  return {
    name: 'has no K3s, or one that can be taken over',
    always: true,
    check: `${told(unit)}
dir=$(told data-dir); dir=\${dir:-$(told_env K3S_DATA_DIR)}
if [[ -n $dir && $dir != ${data} ]]; then echo "K3s keeps its data in $dir, not in ${data}"; exit; fi
${host.role === 'server' ? onServer(host) : onWorker(servers, settings)}`,
    hint: 'docs/adopt.md says which clusters can be taken over, and what to do with others'
  }
}

/**
 * The step that the firewall closes no address that the pod network of a running node uses. flannel takes the NIC of the
 * default route, the public one, where nobody tells it another one.
 */
export const tunnelsOnPrivateNic = ({ address }: Host): NodeStep => ({
  name: 'has no pod network on another NIC',
  always: true,
  check: `local=$(ip -d link show flannel.1 2>/dev/null | grep -oE 'local [0-9.]+' | cut -d' ' -f2 || true)
# An address that the node no longer has carries no packets.
if [[ -n $local && $local != ${address} ]] && ip -o -4 address show | grep -qF " $local/"; then
  echo "flannel uses $local, which the firewall would close; IP_PRIVEE is ${address}"
fi`,
  hint: 'run 09_k3s_02 and 09_k3s_03 first, which move it: docs/adopt.md, "The pod network is on the public NIC"'
})

/** All addresses in a cluster come from these, so they are chosen once. K3s refuses servers that differ. */
export const keepsItsNetworks = ({ settings: { network } }: Pick<Run, 'settings'>): NodeStep => ({
  name: 'keeps the networks that the cluster was made with',
  always: true,
  check: `${told('k3s')}
while read -r key wanted default; do
  is=$(told "$key")
  # Ours always say it. Others leave it to K3s's default.
  if [[ -z $is ]] && ! ours; then is=$default; fi
  [[ -z $is || $is == "$wanted" ]] || echo "$key is $is in the cluster, the settings say $wanted"
done <<'END'
cluster-cidr ${network.cluster_cidr} 10.42.0.0/16
service-cidr ${network.service_cidr} 10.43.0.0/16
cluster-dns ${network.cluster_dns} 10.43.0.10
cluster-domain ${network.cluster_domain} cluster.local
END`,
  hint: 'put the former values back under network in the settings; only a new cluster can have others'
})
