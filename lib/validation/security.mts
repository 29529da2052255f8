import { randomBytes } from 'node:crypto'
import { request } from 'node:https'
import { withObjects } from '../cluster/objects.mts'
import { netcheck } from '../cluster/pod-network.mts'
import type { Host } from '../input/inventory.mts'
import { Secret } from '../input/secrets.mts'
import { apiUrl } from '../input/settings.mts'
import { login, type Ssh } from '../reach/ssh.mts'
import type { Run } from '../run/run.mts'
import type { ClusterStep, NodeStep } from '../run/step.mts'

// The numbers are those of the CIS Kubernetes benchmark in K3s's self-assessment guide (docs.k3s.io/security).

/** The steps that a server keeps its files to root, and writes down who does what. */
export const serverSteps: NodeStep[] = [
  {
    name: "keeps K3s's files to root (CIS 1.1)",
    check: `cd /var/lib/rancher/k3s/server
private() { # MODE FILE...: at most this mode, and root's
  local most=$1 file; shift
  for file in "$@"; do
    [[ -e $file ]] || continue
    (( (8#$(stat -c %a "$file") & ~8#$most) == 0 )) || echo "$file has mode $(stat -c %a "$file"), expected $most"
    [[ $(stat -c %U:%G "$file") == root:root ]] || echo "$file belongs to $(stat -c %U:%G "$file")"
  done
}
private 700 db/etcd cred logs
private 600 token agent-token cred/*.kubeconfig tls/*.key tls/etcd/*.key /etc/rancher/k3s/k3s.yaml /etc/rancher/k3s/config.yaml
echo "= $(ls tls/*.key tls/etcd/*.key cred/*.kubeconfig | wc -l) keys and kubeconfigs, etcd's data, tokens"`
  },
  {
    name: 'writes an audit log (CIS 3.2)',
    check: `log=/var/lib/rancher/k3s/server/logs/audit.log
if [[ ! -s $log ]]; then echo "$log is missing or empty"; exit; fi
age=$(( $(date +%s) - $(stat -c %Y "$log") ))
echo "= $(du -h "$log" | cut -f1), the last line is $age s old"
((age < 600)) || echo "nothing was written for $age s"`,
    hint: 'is the policy of manifests/02_control_plane in force? Run 09_k3s_02'
  }
]

/** The steps that a node's kubelet answers nobody without a name, and that its certificates last. */
export const kubeletSteps = ({ address }: Host): NodeStep[] => [
  {
    name: 'has a kubelet that asks for a name (CIS 4.2)',
    check: `python3 - <<'END'
import ssl, urllib.request, urllib.error
try:
    urllib.request.urlopen('https://${address}:10250/pods', timeout=5, context=ssl._create_unverified_context())
    print('10250 told its pods to somebody without a name')
except urllib.error.HTTPError as error:
    print(f'= 10250 answers {error.code}' if error.code == 401 else f'10250 answers {error.code}, expected 401')
END
[[ -z $(ss -Hltn 'sport = :10255') ]] || echo 'the read-only port 10255 is open'`
  },
  {
    name: 'has certificates that last',
    check: `cd /var/lib/rancher/k3s
least=999999 first=
for file in server/tls/*.crt server/tls/etcd/*.crt agent/*.crt; do
  [[ -s $file ]] || continue
  end=$(openssl x509 -enddate -noout -in "$file" | cut -d= -f2)
  days=$(( ($(date -d "$end" +%s) - $(date +%s)) / 86400 ))
  if ((days < least)); then least=$days first=$file; fi
done
echo "= $least days left to the first one, $first"
((least >= 30)) || echo "$first ends in $least days"`,
    // K3s renews what has less than 120 days left whenever it starts (docs.k3s.io/cli/certificate).
    hint: 'restart K3s, one server at a time: it renews them when it starts'
  }
]

const anonymousPaths = ['/api/v1/namespaces', '/version', '/metrics', '/openid/v1/jwks']

/** The step that the API answers nobody without a name. */
export const asksForName = ({ settings }: Pick<Run, 'settings'>): ClusterStep => ({
  name: 'has an API that asks for a name (CIS 1.2.1)',
  check: async () => {
    const answers = await Promise.all(anonymousPaths.map(async (path) => ({ path, status: await anonymous(`${apiUrl(settings)}${path}`) })))
    const open = answers.filter(({ status }) => status !== 401 && status !== 403)
    return open.length > 0
      ? open.map(({ path, status }) => `${path} answers ${status}, expected 401`).join('\n')
      : `= ${anonymousPaths.join(', ')}: 401`
  },
  look: `for path in ${anonymousPaths.join(' ')}; do
  curl -ksS --max-time 5 -o /dev/null -w "$path %{http_code}\\n" ${apiUrl(settings)}$path     # 401
done`
})

const anonymous = (url: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const asking = request(url, { rejectUnauthorized: false, agent: false, timeout: 5000 }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
    asking.on('timeout', () => asking.destroy(new Error(`${url} does not answer`))).on('error', reject).end()
  })

const etcdData = '/var/lib/rancher/k3s/server/db/etcd/member'

type Servers = Pick<Run, 'servers' | 'ssh' | 'kubectl' | 'signal'>

/** The step that etcd holds no secret in the clear. It writes one, and removes it. */
export const encryptsSecrets = (run: Servers): ClusterStep => ({
  name: 'has no secret in the clear in etcd (CIS 1.2.27)',
  trial: true,
  timeout: 120,
  check: () => readsNoSecret(run),
  look: `kubectl -n ${netcheck.namespace} create secret generic encryption-trial --from-literal=marker=in-the-clear-4711
for server in ${run.servers.map(login).join(' ')}; do
  ssh "$server" "sudo grep -rlaF in-the-clear-4711 ${etcdData}"     # prints nothing
done
kubectl -n ${netcheck.namespace} delete secret encryption-trial`
})

// Writes a secret, and looks for it in the files of every etcd: its name must be there, and its value must not.
const readsNoSecret = async ({ servers, ssh, kubectl, signal }: Servers): Promise<string> => {
  const name = `encryption-trial-${randomBytes(4).toString('hex')}`
  const marker = new Secret(`in-the-clear-${randomBytes(16).toString('hex')}`)
  const { namespace } = netcheck
  const manifest = JSON.stringify({
    apiVersion: 'v1', kind: 'Secret', metadata: { namespace, name }, stringData: { marker: marker.reveal() }
  })
  return withObjects({ kubectl, manifest, signal }, async () => {
    const lines = await Promise.all(servers.map(async (host) => {
      const found = await ssh.capture(host, `cd ${etcdData}
has() { grep -rqaF "$1" .; }
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  if has 'registry/secrets/${namespace}/${name}'; then echo name; break; fi
  sleep 0.5
done
if has '${marker.reveal()}'; then echo value; fi`)
      if (found.includes('value')) return `${host.name} has it in the clear`
      return found.includes('name') ? '' : `${host.name} has not even its name: it could not be judged`
    }))
    const words = lines.filter(Boolean).join('\n')
    return words === '' ? `= a secret was written: its name is in the data of ${servers.length} etcds, its value in none` : words
  })
}

// What the cluster itself listens on. What else is open there is the operator's own.
const ours = [80, 443, 2379, 2380, 2381, 2382, 5001, 6443, 6444, 8081, 9113, 10010, 10248, 10249, 10250, 10255, 10256, 10257, 10258, 10259]

/**
 * The step that a node's public address answers on no port of the cluster, tried by another node. None where the node has
 * no public address, or is the only one: what a node sends to itself passes no firewall.
 */
export const isClosedOutside = (host: Host, { hosts, stands, ssh }: Pick<Run, 'hosts' | 'stands' | 'ssh'>): NodeStep[] => {
  const others = hosts.filter((other) => other !== host && stands(other))
  const neighbour = others[hosts.indexOf(host) % others.length]
  return host.publicAddress === '' || !neighbour ? [] : [publicSide(ssh, host, neighbour)]
}

const listeningPorts = `ss -Hltn | awk '{print $4}' | grep -v '^127\\.' | sed 's/.*://' | sort -nu`

const tryPorts = (address: string, ports: string): string => `for port in ${ports}; do
  timeout 2 bash -c "exec 3<>/dev/tcp/${address}/$port" 2>/dev/null && echo "$port" &
done
wait`

const publicSide = (ssh: Ssh, host: Host, neighbour: Host): NodeStep => ({
  name: 'is closed on its public side',
  check: async () => {
    const numbers = async (asked: Promise<string>): Promise<number[]> => (await asked).split('\n').filter(Boolean).map(Number)
    const listening = await numbers(ssh.capture(host, listeningPorts))
    const ports = [...new Set([...listening, ...ours])]
    const open = await numbers(ssh.capture(neighbour, tryPorts(host.publicAddress, ports.join(' ')), { timeout: 90 }))
    const wrong = open.filter((port) => ours.includes(port) || (port >= 30000 && port <= 32767))
    const others = open.filter((port) => !wrong.includes(port))
    return `= of ${ports.length} ports that ${neighbour.name} tried at ${host.publicAddress} ${others.length > 0 ? `only ${others.join(', ')}` : 'none'} answered
${wrong.length > 0 ? `open to everybody: ${wrong.join(', ')}` : ''}`
  },
  look: `# Prints the open ports. Only those that you opened yourself may be among them.
ssh ${login(neighbour)} bash -s <<'END'
${tryPorts(host.publicAddress, ours.join(' '))}
END`,
  timeout: 90,
  hint: '09_k3s_01 sets the firewall; a rule of others may open it: ufw status numbered'
})
