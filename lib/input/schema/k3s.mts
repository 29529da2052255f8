import { z } from 'zod'
import { isSchedule } from '../../base/cron.mts'
import { integer, section, text, TWICE, yesOrNo } from './fields.mts'

const VERSION = /^v\d{1,2}\.\d{1,3}\.\d{1,3}(-rc\d{1,2})?\+k3s\d{1,2}(-lab)?$/

const QUANTITY = '\\d{1,12}(\\.\\d{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?'
const RESOURCE = `(cpu|memory|ephemeral-storage|pid)=${QUANTITY}`
const RESOURCES = new RegExp(`^(${RESOURCE}(,${RESOURCE})*)?$`)

const resources = () =>
  text("what the kubelet takes, such as 'cpu=200m,memory=512Mi'", (value) => RESOURCES.test(value))

/** Checksums come from the same server as the files, so the connection must be authentic. */
const isReleaseUrl = (value: string) => {
  if (!/^https?:\/\/[\w.:/~%+-]+$/.test(value) || !URL.canParse(value)) return false
  const { protocol, hostname } = new URL(value)
  return protocol === 'https:' || hostname === '127.0.0.1'
}

/** Kubelet arguments that the scripts and K3s set, and where each comes from. */
const OUR_KUBELET_ARGS: Record<string, string> = {
  'max-pods': 'Use k3s.max_pods.',
  'system-reserved': 'Use k3s.system_reserved.',
  'kube-reserved': 'Use k3s.kube_reserved.',
  'cluster-dns': 'Use network.cluster_dns.',
  'cluster-domain': 'Use network.cluster_domain.',
  'resolv-conf': 'Use network.nameservers.',
  'node-ip': 'It is IP_PRIVEE in servers.tsv.',
  'hostname-override': 'It is HOSTNAME in servers.tsv.',
  'node-labels': 'The pool comes from DOCKER_STACK in servers.tsv, or from pools.',
  'register-with-taints': 'Taints come from the pool, and from k3s.server_taint.',
  'protect-kernel-defaults': 'It is always on; the sysctls that it asks for are set.',
  'container-runtime-endpoint': 'K3s brings its own containerd.',
  kubeconfig: 'K3s writes it.',
  config: 'K3s writes it.',
  'config-dir': 'K3s writes it.'
}

/** K3s sets etcd's member identity, addresses and certificates. Changing one breaks the member. */
const OUR_ETCD_ARG = /^(name|data-dir|wal-dir|config-file|force-new-cluster|(listen|initial|advertise|discovery)-.+)$/
const ETCD_TLS_ARG = /(cert|key|ca)-file$|(^|-)client-cert-auth$|^(peer-)?auto-tls$/

const ARGUMENT = /^[a-z][a-z0-9-]{0,62}=[\w.,:%/<=+@-]{1,500}$/

const nameOf = (argument: string) => argument.slice(0, argument.indexOf('='))

const args = (remedyOf: (name: string) => string | undefined) => {
  const error = "key=value without the leading dashes and without blanks, such as 'image-gc-high-threshold=80'"
  const argument = text(error, (value) => ARGUMENT.test(value)).superRefine((value, context) => {
    const remedy = remedyOf(nameOf(value))
    if (remedy === undefined) return
    context.addIssue({ code: 'custom', message: 'an argument that nothing else sets', params: { remedy } })
  })
  return z.array(argument, { error: 'a list of key=value' }).superRefine((values, context) => {
    for (const [index, value] of values.entries()) {
      if (values.findIndex((other) => nameOf(other) === nameOf(value)) === index) continue
      context.addIssue({ code: 'custom', path: [index], message: 'each argument once', params: { remedy: TWICE } })
    }
  })
}

const kubeletRemedy = (name: string) => (Object.hasOwn(OUR_KUBELET_ARGS, name) ? OUR_KUBELET_ARGS[name] : undefined)

const etcdRemedy = (name: string) =>
  OUR_ETCD_ARG.test(name) || ETCD_TLS_ARG.test(name) ? 'Delete it: K3s manages the member itself.' : undefined

/** flannel gives each node a /24. Its network, bridge and broadcast addresses are not for pods. */
const MOST_PODS = 253

/** The K3s release, and how it runs. */
export const k3s = section({
  version: text('a K3s release such as v1.36.5+k3s1', (value) => VERSION.test(value)).default('v1.36.5+k3s1'),
  release_url: text('an https address without user, query or fragment', isReleaseUrl)
    .default('https://github.com/k3s-io/k3s/releases/download'),
  artifacts: text("the absolute path of a folder, or ''", (value) => /^(\/[\w./+@-]*)?$/.test(value)).default(''),
  max_pods: integer(1, MOST_PODS, "pods: a node's /24 has no more addresses").default(250),
  kubelet_args: args(kubeletRemedy).default([]),
  etcd_args: args(etcdRemedy).default(['heartbeat-interval=200', 'election-timeout=2000']),
  system_reserved: resources().default('cpu=200m,memory=512Mi'),
  kube_reserved: resources().default('cpu=200m,memory=512Mi'),
  server_taint: yesOrNo().default(true)
})

/** The snapshots of etcd that each server takes. */
export const snapshots = section({
  schedule: text("five cron fields such as '0 */6 * * *', or @hourly, @daily, @weekly", isSchedule)
    .default('0 */6 * * *'),
  retention: integer(1, 1000, 'snapshots').default(28)
})

/** The API's audit log. */
export const audit = section({
  max_age_days: integer(1, 3650, 'days').default(30),
  max_backups: integer(1, 1000, 'files').default(10),
  max_size_mb: integer(1, 10_000, 'MB').default(100)
})
