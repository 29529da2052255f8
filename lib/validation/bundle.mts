import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import pMap from 'p-map'
import { stringify } from 'yaml'
import { local } from '../base/environment.mts'
import { isAbort, messageOf, UsageError } from '../base/errors.mts'
import { home } from '../base/home.mts'
import { getPods, isReady } from '../cluster/pods.mts'
import { runningTokens } from '../node/tokens.mts'
import { misuse } from '../run/flags.mts'
import type { Run } from '../run/run.mts'
import { readNode } from './bundle-node.mts'
import { scrubber } from './scrub.mts'

type Options = {
  /** The archive to write, FILE.tar.gz. */
  file: string
  /** What goes in besides: the report as a page. */
  report?: string
}

// Bytes that are kept of what kubectl prints or a log file says, and how many logs.
const BYTES = 4_000_000
const LOGS = 10

/**
 * Writes an archive for somebody who is to help from afar: what each node, the cluster and this bastion say, with
 * everything struck out that looks like a secret. It only reads. Returns in words what could not be had.
 */
export const writeBundle = async (run: Run, { file, report }: Options): Promise<string[]> => {
  const part = await begin(file)
  const above = await mkdtemp(join(tmpdir(), 'keybuzz-bundle-'))
  try {
    const name = `keybuzz-${run.settings.environment}-${new Date().toISOString().slice(0, 16).replace(':', '-')}`
    const scrub = scrubber(await knownSecrets(run))
    const sizes = new Map<string, number>()
    const put = async (path: string, text: string): Promise<void> => {
      const clean = scrub(text)
      await mkdir(dirname(join(above, name, path)), { recursive: true, mode: 0o700 })
      await writeFile(join(above, name, path), clean, { mode: 0o600 })
      sizes.set(path, Buffer.byteLength(clean))
    }
    if (report !== undefined) await put('report.html', report)
    // All are waited for: where one was interrupted, nothing may still be writing.
    const collected = await Promise.allSettled([ofNodes(run, put), ofCluster(run, put), ofBastion(run, put)])
    run.signal.throwIfAborted()
    const faults = collected.flatMap((one) => {
      if (one.status === 'rejected') throw one.reason
      return one.value.map((fault) => scrub(fault))
    })
    await put('errors.txt', faults.length === 0 ? 'Everything could be had.\n' : `${faults.join('\n')}\n`)
    await put('MANIFEST', manifest(run, sizes))
    await local({ seconds: 300, signal: run.signal })`tar -C ${above} --owner=0 --group=0 -czf ${part} ${name}`
    await rename(part, file)
    return faults
  } finally {
    await rm(above, { recursive: true, force: true })
    await rm(part, { force: true })
  }
}

// Nothing is collected for a file that cannot be written.
const begin = async (file: string): Promise<string> => {
  const refuse = (expected: string, remedy: string): UsageError => new UsageError([misuse('--bundle', expected, remedy, file)])
  if (await stat(file).then((found) => found.isDirectory(), () => false)) throw refuse('a file, not a folder', 'Name a file in it.')
  const part = join(dirname(file), `.${basename(file)}.${process.pid}`)
  const handle = await open(part, 'w', 0o600).catch((error: unknown) => {
    throw refuse(`a file that can be written (${inOneLine(error)})`, 'Name another one.')
  })
  await handle.close()
  return part
}

type Put = (path: string, text: string) => Promise<void>

const inOneLine = (error: unknown): string =>
  messageOf(error).trim().replaceAll(/\s*\n\s*/g, '; ').slice(0, 500)

// Runs what collects one thing. What goes wrong with it is told, and does not end the rest.
const tried = async (what: string, collect: () => Promise<string[] | void>): Promise<string[]> => {
  try {
    return (await collect()) ?? []
  } catch (error) {
    if (isAbort(error)) throw error
    return [`${what}: ${inOneLine(error)}`]
  }
}

// All that this bastion keeps or was given, and the tokens as the cluster has them now.
const knownSecrets = async ({ ssh, servers }: Run): Promise<string[]> => {
  const files = await readdir(home('secrets')).catch(() => [])
  const kept = await Promise.all(files.map((name) => readFile(join(home('secrets'), name), 'utf8').catch(() => '')))
  const given = ['K3S_TOKEN', 'HCLOUD_TOKEN'].map((name) => process.env[name] ?? '')
  const running = await runningTokens(ssh, servers).catch((error: unknown) => {
    if (isAbort(error)) throw error
    return undefined
  })
  const tokens = running ? [running.server.reveal(), running.agent.reveal()] : []
  const all = [...kept, ...given, ...tokens].map((value) => value.trim()).filter(Boolean)
  return all.flatMap((value) => [value, value.split(':').at(-1)!]) // K10...::server:SECRET
}

const ofNodes = async ({ ssh, chosen, settings }: Run, put: Put): Promise<string[]> => {
  const faults = await pMap(chosen, (host) => tried(host.name, async () => {
    const parts = await readNode(ssh, host)
    for (const { name, text } of parts) await put(`nodes/${host.name}/${name}.txt`, text)
    return parts.filter(({ fault }) => fault !== undefined).map(({ name, fault }) => `${host.name} ${name}: ${fault}`)
  }), { concurrency: settings.ssh.parallel })
  return faults.flat()
}

const ours = ['kube-system', 'nginx-ingress']
const kinds = 'deployments,daemonsets,statefulsets,poddisruptionbudgets,ingresses,configmaps,services'
const programs = [
  ['coredns', 'kube-system', 'k8s-app=kube-dns'],
  ['metrics-server', 'kube-system', 'k8s-app=metrics-server'],
  ['local-path', 'kube-system', 'app=local-path-provisioner'],
  ['nginx-ingress', 'nginx-ingress', 'app=nginx-ingress']
] as const

// Secrets are listed as kubectl prints them: the API answers with their names and types, and never with what they hold.
const questions: Record<string, string> = {
  'version.txt': 'version',
  'nodes.txt': 'get nodes -o wide',
  'nodes.yaml': 'get nodes -o yaml',
  'nodes-describe.txt': 'describe nodes',
  'pods.txt': 'get pods -A -o wide',
  'events.txt': 'get events -A --sort-by=.lastTimestamp',
  'workloads.txt': 'get deployments,daemonsets,statefulsets,poddisruptionbudgets -A -o wide',
  'network.txt': 'get services,ingresses,ingressclasses,networkpolicies,endpointslices -A -o wide',
  'storage.txt': 'get storageclasses,persistentvolumes,persistentvolumeclaims -A -o wide',
  'quotas.txt': 'get resourcequotas,limitranges,priorityclasses -A',
  'apiservices.txt': 'get apiservices',
  'leases.txt': 'get leases -A',
  'secrets.txt': 'get secrets -A',
  'top-nodes.txt': 'top nodes',
  'top-pods.txt': 'top pods -A',
  ...Object.fromEntries(ours.map((namespace) => [`${namespace}.yaml`, `get ${kinds} -n ${namespace} -o yaml`])),
  ...Object.fromEntries(programs.map(([name, namespace, label]) => [
    `logs/${name}.txt`, `logs -n ${namespace} -l ${label} --all-containers --prefix --tail=500 --max-log-requests=500`
  ]))
}

const ofCluster = async ({ kubectl, signal }: Run, put: Put): Promise<string[]> => {
  const ask = async (name: string, question: string): Promise<string[]> => {
    signal.throwIfAborted()
    return tried(`kubectl ${question}`, async () => put(`cluster/${name}`, first(await kubectl`${question.split(' ')}`)))
  }
  // Where the API does not answer, two dozen questions more would only take time.
  const silent = await ask('readyz.txt', 'get --raw /readyz?verbose')
  if (silent.length > 0) return [...silent, 'cluster: nothing was asked of it']
  const faults = await pMap(Object.entries(questions), ([name, question]) => ask(name, question), { concurrency: 4 })
  const sick = await tried('pods that are not ready', async () => {
    const pods = (await getPods(kubectl)).filter((pod) => pod.status.phase !== 'Succeeded' && !isReady(pod))
    // Thirty show what is wrong; of thousands the list of all pods tells.
    return (await pMap(pods.slice(0, 30), ({ metadata: { namespace, name } }) =>
      ask(`pods/${namespace}-${name}.txt`, `describe pod -n ${namespace} ${name}`), { concurrency: 4 })).flat()
  })
  return [...faults.flat(), ...sick]
}

const first = (text: string): string => (text.length <= BYTES ? text : `${text.slice(0, BYTES)}\n[cut here]\n`)

const ofBastion = async ({ settings, hosts }: Run, put: Put): Promise<string[]> => {
  const columns = ['name', 'address', 'publicAddress', 'user', 'fqdn', 'role', 'stack', 'pool', 'line'] as const
  const rows = [columns, ...hosts.map((host) => columns.map((column) => host[column]))]
  await put('bastion/settings.yaml', `# as used, with the defaults\n${stringify(settings)}`)
  await put('bastion/hosts.tsv', `${rows.map((row) => row.join('\t')).join('\n')}\n`)
  return (await Promise.all([
    tried('versions', async () => put('bastion/versions.txt', await versions())),
    tried('logs', async () => {
      const names = (await readdir(home('logs'))).toSorted().slice(-LOGS)
      for (const name of names) await put(`bastion/logs/${name}`, last(await readFile(join(home('logs'), name), 'utf8')))
    })
  ])).flat()
}

const last = (text: string): string => (text.length <= BYTES ? text : `[cut here]\n${text.slice(-BYTES)}`)

const versions = async (): Promise<string> => {
  const root = join(import.meta.dirname, '../..')
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { version: string }
  const says = local({ nothrow: true })
  const commit = await says`git -C ${root} describe --always --dirty`
  const ssh = await says`ssh -V`
  const system = await says`uname -a`
  return [
    `scripts ${version} ${commit.stdout.trim()}`, `node ${process.version}`, ssh.stderr.trim(), system.stdout.trim(),
    `arguments ${process.argv.slice(1).map((word) => basename(word)).join(' ')}`
  ].join('\n') + '\n'
}

const manifest = ({ settings, hosts, chosen }: Run, sizes: Map<string, number>): string => `KeyBuzz K3s, ${settings.environment}, ${new Date().toISOString()}
${chosen.length} of ${hosts.length} hosts. What could not be had is in errors.txt.
Struck out: tokens, keys, passwords, what visitors asked for. Never read: what Secrets hold, applications' logs, snapshots.
Visitors' addresses are in nginx's logs: treat it as personal data.

${[...sizes].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([path, size]) => `${String(size).padStart(9)}  ${path}`).join('\n')}
`
