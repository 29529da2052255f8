import { createPrivateKey, X509Certificate } from 'node:crypto'
import { connect } from 'node:tls'
import { isDeepStrictEqual } from 'node:util'
import { parse } from 'yaml'
import { kubeconfig } from '../base/home.mts'
import { isAbort, messageOf } from '../base/errors.mts'
import type { Run } from '../run/run.mts'
import type { Host } from '../input/inventory.mts'
import { apiUrl, contextOf, serverUrl } from '../input/settings.mts'
import { sudo } from '../node/k3s.mts'
import { login } from '../reach/ssh.mts'
import type { ClusterStep, NodeStep } from '../run/step.mts'
import { daysLeft } from './certificate.mts'
import { formerOf, readKubeconfig, withContext, writeKubeconfig, type Entry, type Kubeconfig } from './kubeconfig-file.mts'

/**
 * The step that the API answers through its load balancer, every time: one that goes on sending to a dead server answers
 * now and then. What is said tells the load balancer's fault from the servers'.
 */
export const answersThroughBalancer = ({ kubectl, servers, settings }: Pick<Run, 'kubectl' | 'servers' | 'settings'>): ClusterStep => {
  const isReady = (server: string): Promise<string> =>
    kubectl({ server, request: 5, timeout: 10 })`get --raw /readyz`.then(() => '', (error: unknown) => {
      if (isAbort(error)) throw error
      return messageOf(error)
    })
  return {
    name: 'answers through the load balancer',
    check: async () => {
      const times = servers.length * 2
      const [through, alone] = await Promise.all([
        Promise.all(Array.from({ length: times }, () => isReady(apiUrl(settings)))),
        Promise.all(servers.map((host) => isReady(serverUrl(host))))
      ])
      const failed = through.filter(Boolean)
      if (failed.length === 0) return ''
      const silent = servers.filter((_, index) => alone[index] !== '').map(({ name }) => name)
      return `${failed.length} of ${times} requests failed (${failed[0]}): ${culprit(servers.map(({ name }) => name), silent)}`
    },
    look: `for address in ${[apiUrl(settings), ...servers.map(serverUrl)].join(' ')}; do
  echo "$address $(kubectl --server $address --request-timeout 5s get --raw /readyz)"     # ok
done`,
    within: 60
  }
}

const culprit = (servers: string[], silent: string[]): string => {
  if (silent.length === servers.length) return 'no server answers by itself either'
  if (silent.length === 0) return 'every server answers by itself, so it is the load balancer'
  return `${servers.filter((name) => !silent.includes(name)).join(', ')} answers by itself, ${silent.join(', ')} does not: it goes on sending there`
}

/** The step that a server's certificate has every name that the API is called by. */
export const isCertified = (host: Host, { settings: { load_balancers: { api } }, servers }: Pick<Run, 'settings' | 'servers'>): NodeStep => {
  const names = [api.address, ...api.names, ...servers.map(({ address }) => address)]
  return {
    name: 'is certified for every name of the API',
    check: async () => {
      const certified = await subjectNames(host.address)
      const missing = names.filter((name) => !certified.includes(name))
      return missing.length === 0 ? '' : `its certificate lacks ${missing.join(', ')}`
    },
    look: `openssl s_client -connect ${host.address}:6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName     # all of ${names.join(', ')}`,
    within: 30,
    hint: 'on the server: k3s certificate rotate --service api-server, then restart k3s'
  }
}

const subjectNames = (address: string): Promise<string[]> =>
  new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: 6443, rejectUnauthorized: false, timeout: 2000 }, () => {
      const { subjectaltname = '' } = socket.getPeerCertificate()
      socket.destroy()
      resolve(subjectaltname.split(', ').map((name) => name.replace(/^(DNS|IP Address):/, '')))
    })
    socket.on('timeout', () => socket.destroy(new Error(`${address}:6443 does not answer`)))
    socket.on('error', reject)
  })

/**
 * The step that nothing is in the way of a context in the bastion's kubeconfig. It comes before any change: what kubectl
 * cannot read, or is no kubeconfig, is not touched.
 */
export const hasReadableKubeconfig: ClusterStep = {
  name: `can keep a context in ${kubeconfig}`,
  always: true,
  check: async () => {
    await readKubeconfig(kubeconfig)
    return ''
  },
  look: 'kubectl config view'
}

/**
 * The step that the bastion's kubeconfig (mode 0600) has the cluster's context: the load balancer's address, and the
 * admin certificate from a server's own kubeconfig. Everything else in the file is left alone.
 */
export const hasContext = ({ settings, ssh }: Pick<Run, 'settings' | 'ssh'>, server: Host): ClusterStep => {
  const source = '/etc/rancher/k3s/k3s.yaml'
  const name = contextOf(settings)
  const wanted = async (): Promise<Entry> => {
    const theirs = parse(await ssh.capture(server, `cat ${source}`)) as Kubeconfig | null
    const ca = theirs?.clusters?.[0]?.cluster?.['certificate-authority-data']
    const user = theirs?.users?.[0]?.user
    const [certificate, key] = [user?.['client-certificate-data'], user?.['client-key-data']]
    if (!isBase64(ca) || !isBase64(certificate) || !isBase64(key)) throw new Error('the server has no kubeconfig yet')
    return {
      cluster: { 'certificate-authority-data': ca, server: apiUrl(settings) },
      user: { 'client-certificate-data': certificate, 'client-key-data': key }
    }
  }
  return {
    name: `is the context ${name} of ${kubeconfig}`,
    check: async () => {
      const want = await wanted()
      const have = await readKubeconfig(kubeconfig)
      if (have === undefined) return 'the file is missing'
      if (!have.isPrivate) return 'others can read the file'
      const former = formerOf(have.says, name, want)
      if (former) return `names a cluster with another CA (${former.ca}, ${former.server}), which stays as ${former.name}`
      const user = have.says.users?.find((one) => one.name === name)?.user
      const kept = isAsGood(user, want.user) ? { ...want, user } : want
      return isDeepStrictEqual(withContext(have.says, name, kept), have.says) ? '' : 'the context is missing or differs'
    },
    look: `kubectl --context ${name} get nodes; ls -l ~/.kube/config     # -rw-------`,
    change: async () => {
      const want = await wanted()
      const have = await readKubeconfig(kubeconfig)
      await writeKubeconfig(kubeconfig, have, withContext(have?.says ?? {}, name, want))
    },
    byHand: `mkdir -p ~/.kube
(umask 077
ssh ${login(server)} ${sudo(server)}cat ${source} |
  sed '/^current-context/d; s,https://127.0.0.1:6443,${apiUrl(settings)},; s,: default$,: ${name},' > ${name}.yaml
KUBECONFIG=${name}.yaml:~/.kube/config k3s kubectl config view --flatten > ~/.kube/config.new)
mv ~/.kube/config.new ~/.kube/config
# Where the file is new: kubectl config use-context ${name}`
  }
}

// Each server has an administrator's certificate of its own. That of another server is as good, unless it expires soon.
const isAsGood = (user: unknown, theirs: Entry['user']): user is Entry['user'] => {
  const { 'client-certificate-data': certificate, 'client-key-data': key } = (user ?? {}) as Entry['user']
  if (!isBase64(certificate) || !isBase64(key)) return false
  try {
    const pem = Buffer.from(certificate, 'base64').toString()
    const own = new X509Certificate(pem)
    const other = new X509Certificate(Buffer.from(theirs['client-certificate-data']!, 'base64'))
    return own.issuer === other.issuer && own.checkPrivateKey(createPrivateKey(Buffer.from(key, 'base64'))) && daysLeft(pem) > leastDays
  } catch {
    return false
  }
}

// K3s renews a certificate at a restart within its last 120 days (docs.k3s.io/cli/certificate).
const leastDays = 60

const isBase64 = (data: unknown): data is string => typeof data === 'string' && /^[A-Za-z0-9+/]+=*$/.test(data)
