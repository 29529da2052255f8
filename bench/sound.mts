import { until } from '../lib/base/wait.mts'
import { parseEtcd } from '../lib/node/etcd.mts'
import { exec } from '../test/lab/nodes.mts'
import { everyNode, kubectl, masters, nodesThatAre, on } from '../test/lab/tests/cluster.mts'

/** What a node says of itself, asked on the node: what the cluster says of one that was dead may be older. */
export type Said = { name: string; said: string }

const look = `curl -sf --max-time 3 http://127.0.0.1:8081/nginx-ready >/dev/null && echo 'ingress ready'
curl -sf --max-time 3 http://127.0.0.1:2381/health && echo
curl -sf --max-time 3 http://127.0.0.1:2381/metrics | grep -E '^etcd_server_(is_leader|has_leader|is_learner) '
true`

const ask = (names: string[]): Promise<Said[]> =>
  Promise.all(names.map(async (name) => ({ name, said: (await exec(name, look).catch(() => ({ stdout: '' }))).stdout })))

/** The one server that leads etcd by its own words; undefined where there is none, or more than one. */
export const leaderIn = (servers: Said[]): string | undefined => {
  const leaders = servers.filter(({ said }) => parseEtcd(said).leads)
  return leaders.length === 1 ? leaders[0]?.name : undefined
}

/** In words what is wrong with the nodes, by what they say. */
export const faultsOf = (nodes: Said[], servers: string[]): string[] => {
  const members = nodes.filter(({ name }) => servers.includes(name))
  const voters = members.filter(({ said }) => {
    const { healthy, hasLeader, isLearner } = parseEtcd(said)
    return healthy && hasLeader && !isLearner
  })
  return [
    ...nodes.filter(({ said }) => !said.includes('ingress ready')).map(({ name }) => `the ingress of ${name} is not ready`),
    ...members.filter((one) => !voters.includes(one)).map(({ name }) => `etcd of ${name} is no healthy voter`),
    ...(leaderIn(members) === undefined ? ['etcd does not have one leader'] : [])
  ]
}

/** The nodes that have not renewed their lease since then (ms); `leases` has "NAME TIME" a line. */
export const silentSince = (leases: string, nodes: string[], since: number): string[] => {
  const renewed = new Map(leases.split('\n').map((line) => line.split(' ') as [string, string | undefined]))
  return nodes.filter((name) => !(Date.parse(renewed.get(name) ?? '') > since))
}

// A node that was dead for less than a minute was Ready all the while, for nobody had noticed.
const clusterFaults = async (since: number): Promise<string[]> => {
  const line = '{range .items[*]}{.metadata.name} {.spec.renewTime}{"\\n"}{end}'
  const silent = silentSince(await kubectl('-n', 'kube-node-lease', 'get', 'leases', '-o', `jsonpath=${line}`), everyNode, since)
  const [ready, voters] = [await nodesThatAre('Ready'), await nodesThatAre('EtcdIsVoter')]
  await Promise.all(masters.map((name) => on(name, 'k3s kubectl get --raw /readyz'))) // of its own API server
  return [
    ...silent.map((name) => `${name} has not renewed its lease`),
    ...everyNode.filter((name) => !ready.includes(name)).map((name) => `${name} is not Ready`),
    ...masters.filter((name) => !voters.includes(name)).map((name) => `${name} is no voter`)
  ]
}

/** Waits until every node is Ready, with its ingress, and the three servers are etcd's voters and answer. */
export const untilSound = async (signal: AbortSignal): Promise<void> => {
  const seconds = 600
  const since = Date.now()
  const words = await until(async () => {
    const faults = faultsOf(await ask(everyNode), masters)
    return (faults.length > 0 ? faults : await clusterFaults(since)).join('\n')
  }, { seconds, signal })
  if (words !== '') throw new Error(`After ${seconds} s the cluster is not well:\n${words}`)
}

/** The server that leads etcd. */
export const etcdLeader = async (): Promise<string> => {
  const leader = leaderIn(await ask(masters))
  if (leader === undefined) throw new Error('etcd does not have one leader')
  return leader
}
