import { randomBytes } from 'node:crypto'
import { request } from 'node:https'
import { apiUrl } from '../input/settings.mts'
import type { Run } from '../run/run.mts'
import type { Host } from '../input/inventory.mts'
import type { Kubectl } from '../reach/kubectl.mts'
import { Secret } from '../input/secrets.mts'
import { capture } from '../reach/ssh.mts'
import type { Step } from '../run/step.mts'
import { withObjects } from '../cluster/trial.mts'

// The numbers are those of the CIS Kubernetes benchmark in K3s's self-assessment guide (docs.k3s.io/security).

/** The steps that a server keeps its files to root, and writes down who does what. */
export const serverSteps: Step[] = [
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
export const kubeletSteps = ({ address }: Host): Step[] => [
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

/** The steps that the API answers nobody without a name, and that etcd holds no secret in the clear. */
export const clusterSteps = (run: Run, kubectl: Kubectl): Step[] => [
  {
    name: 'has an API that asks for a name (CIS 1.2.1)',
    check: async () => {
      const paths = ['/api/v1/namespaces', '/version', '/metrics', '/openid/v1/jwks']
      const answers = await Promise.all(paths.map(async (path) => ({ path, status: await anonymous(`${apiUrl(run.settings)}${path}`) })))
      const open = answers.filter(({ status }) => status !== 401 && status !== 403)
      return open.length > 0 ? open.map(({ path, status }) => `${path} answers ${status}, expected 401`).join('\n') : `= ${paths.join(', ')}: 401`
    }
  },
  {
    name: 'has no secret in the clear in etcd (CIS 1.2.27)',
    trial: true,
    check: () => readsNoSecret(run, kubectl)
  }
]

const anonymous = (url: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const asking = request(url, { rejectUnauthorized: false, agent: false, timeout: 5000 }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
    asking.on('timeout', () => asking.destroy(new Error(`${url} does not answer`))).on('error', reject).end()
  })

// Writes a secret, and looks for it in the files of every etcd: its name must be there, what it says must not.
const readsNoSecret = async ({ servers, signal }: Run, kubectl: Kubectl): Promise<string> => {
  const name = `encryption-trial-${randomBytes(4).toString('hex')}`
  const marker = new Secret(`in-the-clear-${randomBytes(16).toString('hex')}`)
  const manifest = JSON.stringify({
    apiVersion: 'v1', kind: 'Secret', metadata: { namespace: 'keybuzz-netcheck', name }, stringData: { marker: marker.reveal() }
  })
  return withObjects({ kubectl, manifest, signal }, async () => {
    const lines = await Promise.all(servers.map(async (host) => {
      const found = await capture(host, `cd /var/lib/rancher/k3s/server/db/etcd/member
has() { grep -rqaF "$1" .; }
for attempt in 1 2 3 4 5 6 7 8 9 10; do
  if has 'registry/secrets/keybuzz-netcheck/${name}'; then echo name; break; fi
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

/** The step that a node's public address answers on no port of the cluster; `neighbour` tries it from outside. */
export const publicSide = (host: Host, neighbour: Host): Step => ({
  name: 'is closed on its public side',
  check: async () => {
    const listening = (await capture(host, `ss -Hltn | awk '{print $4}' | grep -v '^127\\.' | sed 's/.*://' | sort -nu`)).split('\n').filter(Boolean)
    const ports = [...new Set([...listening.map(Number), ...ours])]
    const open = (await capture(neighbour, `for port in ${ports.join(' ')}; do
  timeout 2 bash -c "exec 3<>/dev/tcp/${host.publicAddress}/$port" 2>/dev/null && echo "$port" &
done
wait`, { timeout: 90 })).split('\n').filter(Boolean).map(Number)
    const wrong = open.filter((port) => ours.includes(port) || (port >= 30000 && port <= 32767))
    const others = open.filter((port) => !wrong.includes(port))
    return `= of ${ports.length} ports that ${neighbour.name} tried at ${host.publicAddress} ${others.length > 0 ? `only ${others.join(', ')}` : 'none'} answered
${wrong.length > 0 ? `open to everybody: ${wrong.join(', ')}` : ''}`
  },
  timeout: 90,
  hint: '09_k3s_01 sets the firewall; a rule of others may open it: ufw status numbered'
})
