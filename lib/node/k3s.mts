import { basename } from 'node:path'
import { stringify } from 'yaml'
import type { Host } from '../input/inventory.mts'
import type { Secret } from '../input/secrets.mts'
import { apiUrl, serverUrl, type Settings } from '../input/settings.mts'
import type { Artifact, Release } from '../reach/release.mts'
import { login, type Ssh } from '../reach/ssh.mts'
import type { Question, Run } from '../run/run.mts'
import { fileStep, type NodeStep } from '../run/step.mts'

/** The systemd unit of a host's role. */
export const unitOf = ({ role }: Pick<Host, 'role'>): string => (role === 'server' ? 'k3s' : 'k3s-agent')

const imagesFile = '/var/lib/rancher/k3s/agent/images/k3s-airgap-images-amd64.tar.zst'

const binary = '/usr/local/bin/k3s'

// Where K3s runs, another version waits here for the node's turn: if K3s crashes before that, the old version starts.
const staged = `${binary}.keybuzz-new`

/**
 * The steps that a host has the files of a K3s release. The bastion pushes them: nodes need no internet. Where K3s runs
 * its new binary is put beside the old one. `runsWhatIsConfigured` switches to it.
 */
export const hasRelease = (
  host: Host,
  { settings, ssh }: Pick<Run, 'settings' | 'ssh'>,
  { k3s, images }: Pick<Release, 'k3s' | 'images'>
): NodeStep[] => [
  mayBecome(settings.k3s.version),
  hasBinary(host, ssh, k3s, settings.k3s.version),
  hasFile(host, ssh, images, { name: 'has the images for a start without internet', path: imagesFile, mode: '0644' })
]

// Also in the seconds between two starts of a K3s that crashes (activating).
const isRunning = ({ role }: Host): string => `[[ $(systemctl is-active ${unitOf({ role })} 2>/dev/null || true) =~ ^(active|activating|reloading)$ ]]`

/** Asks a worker whether K3s runs there: "runs", or nothing. */
export const askWhetherRuns: Question = {
  what: 'K3s runs already',
  shell: (host) => `if ${isRunning(host)}; then echo runs; fi`,
  bare: ''
}

// openssl comes with ca-certificates. It uses the processor's SHA instructions: four times as fast as sha256sum.
const hasSum = (path: string, sha256: string): string => `[[ $(openssl dgst -sha256 -r ${path} 2>/dev/null || true) == '${sha256} '* ]]`

// touch: a restart between the push and this moment would have made the file look older than the process.
const switchBinary = `touch ${staged}\nmv ${staged} ${binary}`

const hasBinary = (host: Host, ssh: Ssh, { file, sha256 }: Artifact, version: string): NodeStep => ({
  name: `has k3s ${version}`,
  check: `if ${hasSum(binary, sha256)}; then exit; fi
if [[ ! -f ${binary} ]]; then echo 'is missing'; exit; fi
if ! ${isRunning(host)}; then echo 'is another one'; exit; fi
if ${hasSum(staged, sha256)}; then
  echo '= waits beside the one that runs, until K3s restarts'
else
  echo 'is another one; the new one will wait beside it until K3s restarts'
fi`,
  change: async () => {
    await ssh.push(host, file, { path: staged, mode: '0755', sha256 })
    await ssh.capture(host, `if ! ${isRunning(host)}; then\n${switchBinary}\nfi`)
  },
  byHand: `${copyByHand(host, basename(file), { path: staged, mode: '0755' })}
# Only where K3s does not run yet. Else leave it there until the restart.
ssh ${login(host)} ${sudo(host)}mv ${staged} ${binary}`,
  timeout: 600
})

// Kubernetes can only go up one minor version at a time, and etcd's data cannot go back.
const mayBecome = (version: string): NodeStep => ({
  name: `may go to ${version}`,
  always: true,
  check: `if [[ ! -x ${binary} ]]; then exit; fi
is=$(${binary} --version | awk 'NR == 1 {print $3}') || exit 0 # a binary that does not run is none
minor() { cut -d. -f2 <<<"$1"; }
if [[ $is != '${version}' && $(printf '%s\\n' "$is" '${version}' | sort -V | tail -n 1) == "$is" ]]; then
  echo "is $is, which is newer"
elif (($(minor '${version}') > $(minor "$is") + 1)); then
  echo "is $is, and no minor version may be skipped"
fi`,
  hint: 'set k3s.version in the settings to what runs, or to the latest patch of the next minor version'
})

type Place = { name: string; path: string; mode: string }

const hasFile = (host: Host, ssh: Ssh, { file, sha256 }: Artifact, { name, path, mode }: Place): NodeStep => ({
  name,
  check: `if [[ ! -f ${path} ]]; then echo 'is missing'; exit; fi
${hasSum(path, sha256)} || echo 'is another one'`,
  change: () => ssh.push(host, file, { path, mode, sha256 }),
  byHand: copyByHand(host, basename(file), { path, mode }),
  timeout: 600
})

/** What an operator who logs in to a host types before a command that is root's: nothing as root, else sudo. */
export const sudo = ({ user }: Host): string => (user === 'root' ? '' : 'sudo ')

/** The commands that copy a file to a path on a host, for a runbook. */
export const copyByHand = (host: Host, file: string, { path, mode }: Pick<Place, 'path' | 'mode'>): string =>
  `scp ${file} ${login(host)}:/tmp/${basename(path)}
ssh ${login(host)} ${sudo(host)}install -D -m ${mode} /tmp/${basename(path)} ${path}
ssh ${login(host)} rm /tmp/${basename(path)}`

// The part of K3s's configuration that servers and agents have in common.
const nodeConfig = (host: Host, { k3s, network }: Settings, nic: string) => ({
  'node-name': host.name,
  'node-ip': host.address,
  // flannel ignores node-ip: without this it uses the NIC of the default route, the public one (k3s#12056).
  'flannel-iface': nic,
  'token-file': '/etc/rancher/k3s/token',
  'resolv-conf': '/etc/rancher/k3s/resolv.conf',
  'protect-kernel-defaults': true,
  'kubelet-arg': [
    `max-pods=${k3s.max_pods}`,
    'streaming-connection-idle-timeout=5m',
    ...(k3s.system_reserved === '' ? [] : [`system-reserved=${k3s.system_reserved}`]),
    ...(k3s.kube_reserved === '' ? [] : [`kube-reserved=${k3s.kube_reserved}`]),
    ...k3s.kubelet_args
  ],
  'kube-proxy-arg': [
    // Packets for NodePorts do not reach ufw's rules: keep NodePorts off the public address.
    `nodeport-addresses=${network.private_cidr}`,
    // 01 sets nf_conntrack_max. Without this K3s sets it again at each start, to 32768 for each CPU.
    'conntrack-max-per-core=0'
  ]
})

/** The folder of a server's audit log. */
export const auditLogs = '/var/lib/rancher/k3s/server/logs'

/** The K3s configuration of a server. */
export const serverConfig = (host: Host, { settings, servers }: Pick<Run, 'settings' | 'servers'>, nic: string) => {
  const { k3s, network, load_balancers: { api }, snapshots, audit, addons } = settings
  return {
    ...nodeConfig(host, settings, nic),
    'agent-token-file': '/etc/rancher/k3s/agent-token',
    'tls-san': [...new Set([api.address, ...api.names, ...servers.map(({ address }) => address)])],
    'cluster-cidr': network.cluster_cidr,
    'service-cidr': network.service_cidr,
    'cluster-dns': network.cluster_dns,
    'cluster-domain': network.cluster_domain,
    // They would take ports 80 and 443, which the ingress needs on every node.
    disable: ['traefik', 'servicelb'],
    'default-local-storage-path': addons.volumes.path,
    'secrets-encryption': true,
    'write-kubeconfig-mode': '0600',
    // Plain HTTP, on IP_PRIVEE too and nowhere else (k3s: pkg/etcd/etcd.go, listenMetricsURLs). 01 lets Prometheus in alone.
    // supervisor-metrics stays off: it adds nothing in K3s, and opens 6443 on every agent, all NICs (k3s#10019, pkg/agent/https).
    'etcd-expose-metrics': true,
    'etcd-snapshot-schedule-cron': snapshots.schedule,
    'etcd-snapshot-retention': snapshots.retention,
    ...(k3s.server_taint ? { 'node-taint': ['CriticalAddonsOnly=true:NoExecute'] } : {}),
    ...(k3s.etcd_args.length > 0 ? { 'etcd-arg': k3s.etcd_args } : {}),
    'kube-apiserver-arg': [
      `audit-log-path=${auditLogs}/audit.log`,
      'audit-policy-file=/etc/rancher/k3s/audit-policy.yaml',
      `audit-log-maxage=${audit.max_age_days}`,
      `audit-log-maxbackup=${audit.max_backups}`,
      `audit-log-maxsize=${audit.max_size_mb}`,
      'service-account-extend-token-expiration=false'
    ],
    'kube-controller-manager-arg': ['terminated-pod-gc-threshold=100']
  }
}

/** The K3s configuration of an agent, which joins through the load balancer. */
export const agentConfig = (host: Host, settings: Settings, nic: string) => ({
  server: apiUrl(settings),
  ...nodeConfig(host, settings, nic)
})

/** The step that K3s gives the pods of a host the nameservers of the settings. */
export const givesPodsNameservers = ({ network }: Settings): NodeStep =>
  fileStep('/etc/rancher/k3s/resolv.conf', network.nameservers.map((one) => `nameserver ${one}\n`).join(''), {
    name: 'gives its pods the nameservers'
  })

/** The step that a host has this K3s configuration. */
export const hasConfig = (config: Record<string, unknown>): NodeStep =>
  fileStep('/etc/rancher/k3s/config.yaml', `# Written by KeyBuzz K3s HA; edits are undone.\n${stringify(config)}`, {
    mode: '0600',
    name: 'has the K3s configuration'
  })

/** The step that a host has the systemd unit of K3s. */
export const hasUnit = (host: Host): NodeStep =>
  fileStep(`/etc/systemd/system/${unitOf(host)}.service`, unitText(host), { name: `has the unit ${unitOf(host)}` })

/**
 * The step that the file /etc/rancher/k3s/`name` ends in this token's secret. The CA's hash before it may be missing: the
 * first server starts before there is a CA. With form `secret` the hash is left out: agent-token-file needs it so.
 */
export const hasToken = (name: 'token' | 'agent-token', token: Secret, form: 'secure' | 'secret' = 'secure'): NodeStep => {
  const path = `/etc/rancher/k3s/${name}`
  const wanted = `wanted='${token.reveal()}'`
  return {
    name: `has the ${name}`,
    check: `if [[ ! -f ${path} ]]; then echo 'is missing'; exit; fi
token=$(<${path}); ${wanted}; [[ \${token##*:} == "\${wanted##*:}" ]] || echo 'is another one'
[[ $(stat -c '%a %U' ${path}) == '600 root' ]] || echo 'can be read by others'`,
    change: `install -d -m 0700 /etc/rancher/k3s
umask 077
${wanted}
printf '%s\\n' "\${wanted${form === 'secret' ? '##*:' : ''}}" > ${path}.new
mv ${path}.new ${path}`
  }
}

/** A node that registers again gets another pod network. Packets would be lost in a bridge with the old one. */
export const removeOldNetwork = 'for link in cni0 flannel.1; do ip link delete "$link" 2>/dev/null || true; done'

/** The same for a runbook. */
export const removeOldNetworkByHand = (host: Host): string =>
  `ssh ${login(host)} '${sudo(host)}ip link delete cni0; ${sudo(host)}ip link delete flannel.1'     # "Cannot find device" is fine`

/** The step that K3s was started, and starts at boot. Another step checks whether it is ready. */
export const isStarted = (host: Host): NodeStep => {
  const unit = unitOf(host)
  return {
    name: `has ${unit} started`,
    check: `[[ $(systemctl is-enabled ${unit} 2>/dev/null) == enabled ]] || echo 'does not start at boot'
state=$(systemctl is-active ${unit} || true)
[[ $state == active || $state == activating ]] || echo "is $state"`,
    // --no-block: without a quorum a start never ends (TimeoutStartSec=0).
    change: `systemctl daemon-reload
systemctl enable --quiet ${unit}
systemctl start --no-block ${unit}`
  }
}

type Gate = {
  /** Throws where a restart is dangerous now. */
  pass: () => Promise<void>
  byHand: string
}

/**
 * The step that K3s runs with the current files, and with the binary that waits. The node itself shows that a restart is
 * due (files newer than the process), so a run that was cut short before the restart still restarts next time.
 */
export const runsWhatIsConfigured = (host: Host, ssh: Ssh, { sha256 }: Pick<Artifact, 'sha256'>, gate?: Gate): NodeStep => {
  const unit = unitOf(host)
  const restart = ['systemctl daemon-reload', `systemctl restart --no-block ${unit}`]
  const change = [`if ${hasSum(staged, sha256)}; then`, switchBinary, 'fi', ...restart].join('\n')
  const fact = {
    name: 'runs what is configured',
    check: `since=$(systemctl show --timestamp=unix -p ExecMainStartTimestamp --value ${unit})
[[ $since == @* ]] || exit 0
if ${hasSum(staged, sha256)}; then echo 'the new k3s waits for a restart'; fi
cd /etc/rancher/k3s
for file in ${binary} /etc/systemd/system/${unit}.service config.yaml token agent-token audit-policy.yaml resolv.conf; do
  if [[ -f $file && $(stat -c %Y "$file") -gt \${since#@} ]]; then echo "$file is newer than the running k3s"; fi
done`,
    follows: true,
    within: 60
  }
  if (!gate) return { ...fact, change }
  return {
    ...fact,
    change: async () => {
      await gate.pass()
      await ssh.capture(host, change)
    },
    byHand: `${gate.byHand}
# Only where a new k3s waits:
ssh ${login(host)} '${sudo(host)}touch ${staged} && ${sudo(host)}mv ${staged} ${binary}'
ssh ${login(host)} '${restart.map((command) => sudo(host) + command).join(' && ')}'`
  }
}

/**
 * Shell that prints the last errors in a unit's log: why it ended, else the last errors of K3s (`level=error`) or of its
 * Kubernetes components (`E1126 ...`).
 */
export const lastErrors = (unit: string): string => `log=$(journalctl -u ${unit} -n 300 -o cat --no-pager || true)
{ grep -E 'level=fatal|"command failed"|ubelet exited' <<<"$log" || grep -E 'level=error|^[EF][0-9]{4} ' <<<"$log" || true; } | tail -n 2 | cut -c 1-600`

/**
 * Shell that says what is wrong with a node's kubelet, and with what its log says. The kubelet is asked itself, and its
 * Node must be Ready by a heartbeat since K3s was started: the Ready condition stays True for a while after the kubelet
 * has died. `kubectl` is a kubectl on the node. Where the API that it asks does not answer, `servers` are asked one by one:
 * a server that is down is not this node's fault.
 */
export const kubeletShell = (host: Host, kubectl: string, servers: Host[] = []): string => {
  const unit = unitOf(host)
  const ready = '{range .status.conditions[?(@.type=="Ready")]}{.lastHeartbeatTime} {.status} {.message}{end}'
  return `why_not() { echo "$1"
${lastErrors(unit)}
}
answer=$({ exec 3<>/dev/tcp/127.0.0.1/10248 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 5 cat <&3; } 2>/dev/null | tr -d '\\r' || true)
if [[ $answer != *$'\\n\\n'ok* ]]; then
  why_not "its kubelet $([[ -z $answer ]] && echo 'does not answer on 127.0.0.1:10248' || echo "says \${answer##*$'\\n\\n'}")"; exit
fi
since=$(systemctl show --timestamp=unix -p ExecMainStartTimestamp --value ${unit})
ask() {
  local node server
  for server in ''${servers.map((server) => ` --server=${serverUrl(server)}`).join('')}; do
    node=$(${kubectl} $server get node ${host.name} -o jsonpath='${ready}' 2>&1) && { echo "$node"; return; }
  done
  echo "$node"; return 1
}
if ! node=$(ask); then
  why_not "its Node cannot be read: $(tail -n 1 <<<"$node")"; exit
fi
read -r beat is message <<<"$node" || true
if [[ -z $beat || $(date -d "$beat" +%s) -le \${since#@} ]]; then why_not 'has sent no heartbeat since K3s was started'; exit; fi
if [[ $is != True ]]; then why_not "is not Ready: $message"; exit; fi`
}

// The kubelet's own credentials: it may read its Node, on a worker too.
const ownKubectl = 'k3s kubectl --kubeconfig /var/lib/rancher/k3s/agent/kubelet.kubeconfig --request-timeout=5s'

/** The step that a worker's kubelet is well since K3s was started. */
export const hasSoundKubelet = (host: Host, servers: Host[]): NodeStep => ({
  name: 'has a kubelet that is well',
  check: kubeletShell(host, ownKubectl, servers),
  within: 180,
  timeout: 30,
  vital: true,
  hint: `ssh ${login(host)} ${sudo(host)}journalctl -e -u ${unitOf(host)}; docs/workers.md, "A worker does not become Ready"`
})

const unitText = (host: Host): string => `# Written by KeyBuzz K3s HA; edits are undone.
[Unit]
Description=Lightweight Kubernetes (${host.role})
Documentation=https://docs.k3s.io
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/k3s ${host.role}
# Containers go on running while k3s restarts.
KillMode=process
Delegate=yes
User=root
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s

[Install]
WantedBy=multi-user.target
`
